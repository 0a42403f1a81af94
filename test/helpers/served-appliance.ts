/**
 * A whole appliance as a customer runs it: `holdfast serve` on a folder of its own, reached over HTTPS, claimed the way the
 * browser does it. For what only the whole can show; most tests want `appliance.ts`.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import {
  ageRecipientOf,
  answerKitChallenge,
  generateAgeIdentity,
  makeRecoveryKit,
  type RecoveryKit,
} from '../../server/keys/index.ts';
import { applicationFolder } from './joined-application.ts';
import { quickTmpdir } from './memory-folder.ts';
import { addTestPasskey, originOf, proveAgain, signInAs, type Call } from './sign-in.ts';
import { softwarePasskey } from './software-passkey.ts';
import { waitFor } from './wait-for.ts';

export const OWNER = {
  name: 'Ada Lovelace',
  email: 'ada@example.org',
  password: 'stable horse with 9 batteries',
};

export interface Reply<Body> {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Body;
}

export interface ServedAppliance {
  dataDir: string;
  url: string;
  claimCode: string | undefined;
  process: ChildProcess;
  /** What it wrote so far. */
  output(): string;
  /** Of the signed-in owner, for requests made by hand. */
  cookie(): string;
  /** One request of the signed-in owner. Objects travel as JSON, bytes as they are, a stream without saying its length. */
  call<Body = Record<string, unknown>>(
    method: string,
    path: string,
    body?: object | Buffer | Readable,
  ): Promise<Reply<Body>>;
  /** Ends it and waits. Default SIGTERM. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

interface ServeOptions {
  /** Folder of the application; that of all tests when absent. */
  application?: string;
  dataDir?: string;
  env?: Record<string, string>;
  nodeArgs?: string[];
  /** A program that starts it, such as `unshare`, with its arguments. */
  within?: string[];
}

/** Starts it and waits until it says that it is ready. */
export async function serveAppliance(options: ServeOptions = {}): Promise<ServedAppliance> {
  const dataDir = options.dataDir ?? join(await makeFolder('appliance'), 'data');
  const child = spawnHoldfast(['serve'], { dataDir, ...options });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  await waitFor(
    'the appliance to be ready',
    () => {
      if (child.exitCode !== null) throw new Error(`holdfast serve ended with ${child.exitCode}:\n${output}`);
      return output.includes('Holdfast is ready: https:');
    },
    90_000,
  );
  const url = /Holdfast is ready: (https:\S+)/.exec(output)?.[1] ?? '';
  const session: CallerSession = { cookie: '' };
  return {
    dataDir,
    url,
    get claimCode() {
      return /Claim code: (\S+)/.exec(output)?.[1];
    },
    process: child,
    output: () => output,
    cookie: () => session.cookie,
    call: (method, path, body) => callApi(url, session, method, path, body),
    stop: async (signal = 'SIGTERM') => {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
      child.kill(signal);
      return ended;
    },
  };
}

/** An appliance that somebody else started. */
export function callerOf(url: string): Pick<ServedAppliance, 'call' | 'cookie' | 'url'> {
  const session: CallerSession = { cookie: '' };
  return {
    url,
    cookie: () => session.cookie,
    call: (method, path, body) => callApi(url, session, method, path, body),
  };
}

/** Runs a command of the command line to its end. */
export async function runHoldfast(
  args: string[],
  options: ServeOptions & { input?: string } = {},
): Promise<{ exitCode: number | null; stdout: string; stderr: string }> {
  const child = spawnHoldfast(args, options);
  const out = { stdout: '', stderr: '' };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (out.stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (out.stderr += text));
  child.stdin?.end(options.input ?? '');
  const exitCode = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { exitCode, ...out };
}

function spawnHoldfast(args: string[], options: ServeOptions): ChildProcess {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('HOLDFAST_') && !/VITEST|^NODE_OPTIONS$/.test(name),
  );
  const [command, ...before] = [...(options.within ?? []), process.execPath];
  return spawn(
    command,
    [
      ...before,
      ...(options.nodeArgs ?? []),
      join(options.application ?? applicationFolder(), 'server/cli/holdfast.ts'),
      ...args,
    ],
    {
      cwd: tmpdir(),
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        ...(Object.fromEntries(inherited) as Record<string, string>),
        ...(options.dataDir === undefined ? {} : { HOLDFAST_DATA: options.dataDir }),
        HOLDFAST_HOST: '127.0.0.1',
        HOLDFAST_PORT: '0',
        ...options.env,
      },
    },
  );
}

/** Claims it, names it, and proves a recovery kit. @returns the kit, as its holder keeps it. */
export async function claimAppliance(
  appliance: Pick<ServedAppliance, 'call' | 'claimCode' | 'url'>,
): Promise<RecoveryKit> {
  await takeOwnership(appliance);
  const settings = { name: 'Vault', stage: 'development', region: 'eu-north', allowedRegions: ['eu-north'] };
  await expectStatus(appliance.call('PUT', '/settings/appliance', settings), 200);
  const { identity } = await generateAgeIdentity();
  const recipient = await ageRecipientOf(identity);
  const begun = await expectStatus(appliance.call<BegunKit>('POST', '/recovery-kits', { recipient }), 201);
  const response = await answerKitChallenge(begun.kitId, identity, begun.challenge);
  await expectStatus(appliance.call('POST', `/recovery-kits/${begun.kitId}/proof`, { response }), 200);
  const { kitId, repositoryId, trustRoot, applianceName, createdAt } = begun;
  return makeRecoveryKit({
    kitId,
    repositoryId,
    trustRoot,
    applianceName,
    createdAt,
    ageIdentity: identity,
    targets: [],
  });
}

/** Claims it for the owner, with a passkey as second factor, and nothing more. */
export async function takeOwnership(
  appliance: Pick<ServedAppliance, 'call' | 'claimCode' | 'url'>,
  owner: { name: string; email: string; password: string } = OWNER,
): Promise<void> {
  // It says so on another stream than that it is ready.
  await waitFor('the claim code', () => appliance.claimCode !== undefined);
  const claim = { code: appliance.claimCode, owner };
  await expectStatus(appliance.call('POST', '/setup/claim', claim), 201);
  await addTestPasskey(appliance.call, originOf(appliance.url), softwarePasskey(owner.email));
}

interface BegunKit {
  kitId: string;
  repositoryId: string;
  trustRoot: string;
  applianceName: string;
  createdAt: string;
  challenge: string;
}

/** Signs the owner in again, on an appliance that was claimed before. */
export async function signIn(
  appliance: Pick<ServedAppliance, 'call' | 'url'>,
  who: { email: string; password: string } = OWNER,
): Promise<void> {
  await signInAs(appliance.call, originOf(appliance.url), who);
}

export async function addDirectoryTarget(
  appliance: Pick<ServedAppliance, 'call'>,
  path: string,
): Promise<string> {
  const target = { name: 'nas', kind: 'directory', path, region: 'eu-north' };
  return (await expectStatus(appliance.call<{ id: string }>('POST', '/targets', target), 201)).id;
}

/** Starts a job and waits for its end. */
export async function finishRun(
  appliance: Pick<ServedAppliance, 'call'>,
  started: Promise<Reply<{ id: string }>>,
): Promise<{ state: string; result: Record<string, string>; error: { message: string } | null }> {
  const { id } = await expectStatus(started, 202);
  return finishRunOf(appliance, id);
}

/** Waits for the end of a job. */
export async function finishRunOf(
  appliance: Pick<ServedAppliance, 'call'>,
  id: string,
): Promise<{ state: string; result: Record<string, string>; error: { message: string } | null }> {
  type Shown = { state: string; result: Record<string, string>; error: { message: string } | null };
  return waitFor(
    'the job to end',
    async () => {
      const { body } = await appliance.call<Shown>('GET', `/runs/${id}`);
      return ['succeeded', 'partial', 'failed', 'cancelled'].includes(body.state) ? body : undefined;
    },
    120_000,
  );
}

/** Puts a file into the workspace that the claim made. */
export async function putFile(
  appliance: Pick<ServedAppliance, 'call'>,
  name: string,
  content: string | Buffer,
): Promise<void> {
  type Workspaces = { items: { rootFolderId: string }[] };
  const { items } = await expectStatus(appliance.call<Workspaces>('GET', '/workspaces'), 200);
  const path = `/folders/${items[0]?.rootFolderId ?? ''}/files?name=${encodeURIComponent(name)}`;
  await expectStatus(
    appliance.call('PUT', path, typeof content === 'string' ? Buffer.from(content) : content),
    201,
  );
}

/** Takes one file in, snapshots it to the folder and proves the snapshot with a full restore test. */
export async function proveOneFile(
  appliance: ServedAppliance,
  target: string,
): Promise<{ state: string; grade: string }> {
  await mkdir(target);
  const targetId = await addDirectoryTarget(appliance, target);
  await putFile(appliance, 'note.txt', 'kept elsewhere');
  const snapshot = await finishRun(appliance, appliance.call('POST', '/snapshots'));
  const test = await expectStatus(
    appliance.call<{ id: string; runId: string }>('POST', '/restore-tests', {
      ...{ snapshotId: snapshot.result.snapshotId, targetId, mode: 'full', keySource: 'test-identity' },
    }),
    202,
  );
  await finishRunOf(appliance, test.runId);
  return expectStatus(appliance.call('GET', `/restore-tests/${test.id}`), 200);
}

export async function expectStatus<Body>(reply: Promise<Reply<Body>>, status: number): Promise<Body> {
  const { status: found, body } = await reply;
  if (found !== status) throw new Error(`expected ${status}, got ${found}: ${JSON.stringify(body)}`);
  return body;
}

/** A folder that the caller removes. */
export async function makeFolder(name: string): Promise<string> {
  return mkdtemp(join(quickTmpdir(), `holdfast-test-${name}-`));
}

export async function removeFolder(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 5 });
}

/** What a caller remembers: the cookie, and what it signed in with, to prove it again where that is asked for. */
interface CallerSession {
  cookie: string;
  password?: string;
}

async function callApi<Body>(
  url: string,
  session: CallerSession,
  method: string,
  path: string,
  body: object | Buffer | Readable | undefined,
): Promise<Reply<Body>> {
  const { password, owner } = (body ?? {}) as { password?: string; owner?: { password?: string } };
  session.password = password ?? owner?.password ?? session.password ?? OWNER.password;
  const reply = await sendOnce<Body>(url, session, method, path, body);
  const { error } = (reply.body ?? {}) as { error?: { code: string } };
  if (error?.code !== 'step_up_required') return reply;
  const ask: Call = (asked, where, content) => sendOnce<unknown>(url, session, asked, where, content);
  await proveAgain(ask, originOf(url), session.password);
  return sendOnce(url, session, method, path, body);
}

async function sendOnce<Body>(
  url: string,
  session: CallerSession,
  method: string,
  path: string,
  body: object | Buffer | Readable | undefined,
): Promise<Reply<Body>> {
  const bytes = body === undefined || Buffer.isBuffer(body) || body instanceof Readable;
  const payload = bytes ? body : Buffer.from(JSON.stringify(body));
  const headers: Record<string, string | number> = {};
  if (payload !== undefined)
    headers['content-type'] = bytes ? 'application/octet-stream' : 'application/json';
  if (Buffer.isBuffer(payload)) headers['content-length'] = payload.length;
  return new Promise((resolve, reject) => {
    const sent = request(
      `${url}${path.startsWith('/health') || path.startsWith('/api/') ? '' : '/api/v1'}${path}`,
      {
        method,
        rejectUnauthorized: false,
        agent: false,
        headers: {
          // A passkey belongs to a name: an address of numbers is called by one.
          host: originOf(url).slice('https://'.length),
          origin: originOf(url),
          'sec-fetch-site': 'same-origin',
          'x-holdfast': '1',
          ...(session.cookie === '' ? {} : { cookie: session.cookie }),
          ...headers,
        },
      },
      (reply) => {
        const parts: Buffer[] = [];
        reply.on('data', (part: Buffer) => parts.push(part));
        reply.on('error', reject);
        reply.on('end', () => {
          const set = reply.headers['set-cookie']?.map((one) => one.split(';')[0]).join('; ');
          if (set !== undefined) session.cookie = set;
          const bytes = Buffer.concat(parts);
          const json = reply.headers['content-type']?.startsWith('application/json') === true;
          resolve({
            status: reply.statusCode ?? 0,
            headers: reply.headers,
            body: (json ? JSON.parse(bytes.toString('utf8')) : bytes) as Body,
          });
        });
      },
    );
    sent.on('error', reject);
    if (payload instanceof Readable) payload.on('error', reject).pipe(sent);
    else sent.end(payload);
  });
}
