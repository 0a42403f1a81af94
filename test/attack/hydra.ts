/**
 * hydra: guessing passwords. It fills in forms and takes 401 for something else, so a translator makes the sign-in of the API out of each
 * form, from the address that is attacked from.
 */
import { writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { ask } from './asking.ts';
import { runTool } from './tools.ts';
import { findBreaks, type Outcome, type Target } from './verdict.ts';

/** Five are free, then each waits twice as long: what fits into the minutes that a run may take. */
const MOST_LOOKED_AT = 15;
const WRONG_BEFORE = 60;
const COMMON = ['123456', 'password', 'Holdfast1', 'admin', 'letmein2026'];

export interface Attempt {
  /** With the right password. */
  right: boolean;
  status: number;
}

export interface Guessing {
  output: string;
  attempts: readonly Attempt[];
  /** The owner signs in while it goes on. */
  elsewhere: Attempt & { ms: number };
  alive: boolean;
}

/** Pure. */
export function judgeHydra({ output, attempts, elsewhere, alive }: Guessing): string[] {
  const rights = attempts.filter(({ right }) => right);
  const lookedAt = attempts.filter(({ status }) => status === 401).length;
  return [
    ...(/\blogin: .*password: /.test(output) ? ['the tool says that it found the password'] : []),
    ...(attempts.some(({ status }) => status < 400) ? ['an attempt got in'] : []),
    ...(rights.length === 0 ? ['the right password was never tried'] : []),
    ...(lookedAt > MOST_LOOKED_AT ? [`${lookedAt} guesses were looked at, more than ${MOST_LOOKED_AT}`] : []),
    ...(attempts.some(({ status }) => status === 429) ? [] : ['nothing slowed it down']),
    ...(elsewhere.status < 300 ? [] : [`the owner could not sign in from elsewhere: ${elsewhere.status}`]),
    ...(alive ? [] : ['the server did not answer afterwards']),
  ];
}

const FORM = '/sign-in:user=^USER^&pass=^PASS^:F=refused';

/** @param owner whose password is guessed; the others' names are tried with common words. */
export async function attackSignIn(
  target: Target,
  folder: string,
  owner: { email: string; password: string },
  others: readonly string[],
): Promise<Outcome> {
  const [attacker, elsewhereFrom] = ['127.0.8.1', '127.0.8.200'];
  const attempts: Attempt[] = [];
  const form = await translateForms(
    target,
    attacker,
    owner.password,
    (attempt) => void attempts.push(attempt),
  );
  const words = join(folder, 'passwords.txt');
  const list = [
    ...Array.from({ length: WRONG_BEFORE }, (_, index) => `a guess that is wrong ${index}`),
    ...[owner.password, 'one more', 'and another'],
  ];
  await writeFile(words, `${list.join('\n')}\n`, { mode: 0o600 });
  const names = join(folder, 'names.txt');
  const everybody = [...others, ...Array.from({ length: 20 }, (_, index) => `nobody${index}@example.org`)];
  await writeFile(names, `${everybody.join('\n')}\n`);
  const common = join(folder, 'common.txt');
  await writeFile(common, `${COMMON.join('\n')}\n`);
  const run = (who: string[], passwords: string) =>
    runTool(
      'hydra',
      [
        '-I',
        '-t',
        '4',
        '-w',
        '30',
        ...who,
        '-P',
        passwords,
        '-s',
        `${form.port}`,
        '127.0.0.1',
        'http-post-form',
        FORM,
      ],
      { cwd: folder, timeoutMs: 120_000 },
    );
  try {
    const guessing = run(['-l', owner.email], words);
    const elsewhere = await signInWhileGuessed(target, owner, elsewhereFrom, attempts, guessing);
    const { stdout } = await guessing;
    const aimed = [...attempts];
    attempts.length = 0;
    const spray = await run(['-L', names, '-u'], common);
    const alive = (await ask(target, { path: '/health/ready', from: elsewhereFrom })).status === 200;
    const [seen, sprayed] = [await target.answersTo(attacker), attempts.length];
    return {
      name: 'hydra: guessing passwords',
      commands: [
        `hydra -I -t 4 -w 30 -l OWNER -P PASSWORDS -s PORT 127.0.0.1 http-post-form '${FORM}'`,
        `hydra -I -t 4 -w 30 -L NAMES -u -P COMMON -s PORT 127.0.0.1 http-post-form '${FORM}'`,
      ],
      tried: [
        `the owner's account, the right password after ${WRONG_BEFORE} wrong ones: ${describe(aimed)}`,
        `the owner signed in from elsewhere meanwhile: ${elsewhere.status} after ${Math.round(elsewhere.ms)} ms`,
        `${everybody.length} accounts, most of nobody, with ${COMMON.length} common words: ${describe(attempts)}`,
      ],
      findings: [
        ...judgeHydra({ output: stdout, attempts: aimed, elsewhere, alive }),
        ...(/\blogin: .*password: /.test(spray.stdout) ? ['a common word opened an account'] : []),
        ...(sprayed < everybody.length ? [`only ${sprayed} attempts at other accounts`] : []),
        ...findBreaks(seen),
      ],
    };
  } finally {
    await form.close();
  }
}

/** As soon as the guesses are slowed down, or are over. */
async function signInWhileGuessed(
  target: Target,
  { email, password }: { email: string; password: string },
  from: string,
  attempts: readonly Attempt[],
  guessing: Promise<unknown>,
): Promise<Guessing['elsewhere']> {
  const over = { yes: false };
  void guessing.finally(() => (over.yes = true));
  while (!over.yes && !attempts.some(({ status }) => status === 429))
    await new Promise((resolve) => setTimeout(resolve, 50));
  const start = performance.now();
  const { status } = await ask(target, {
    method: 'POST',
    path: '/api/v1/session',
    from,
    body: { email, password },
  });
  return { right: true, status, ms: performance.now() - start };
}

/** A web form whose answer is `refused`, or `welcome`. */
async function translateForms(
  target: Target,
  from: string,
  right: string,
  tell: (attempt: Attempt) => void,
): Promise<{ port: number; close(): Promise<void> }> {
  const server = createServer((request, reply) => {
    const answer = async () => {
      if (request.method !== 'POST') return 'a form';
      const fields = new URLSearchParams(await readBody(request));
      const [email, password] = [fields.get('user') ?? '', fields.get('pass') ?? ''];
      const asked = { method: 'POST', path: '/api/v1/session', from, body: { email, password } };
      const { status } = await ask(target, asked);
      tell({ right: password === right, status });
      return status < 400 ? 'welcome' : 'refused';
    };
    answer().then(
      (text) => reply.end(text),
      () => reply.writeHead(502).end('refused'),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}

function describe(attempts: readonly Attempt[]): string {
  const count = (least: number, most: number) =>
    attempts.filter(({ status }) => status >= least && status <= most).length;
  return `${attempts.length} attempts, ${count(401, 401)} looked at, ${count(429, 429)} told to wait, ${count(200, 399)} got in`;
}
