/**
 * `npm run test:attack`: other people's tools against a whole appliance on this machine, judged by rules of our own. First each judge is
 * shown something weak, which it must find. Writes REPORT.md beside this file, and ends with 1 when anything was found.
 *
 * Options: --only testssl,ffuf,hydra,slowhttptest,sqlmap (one or more; the others keep their sections of the report), --report FILE.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '../../server/lib/clock.ts';
import { CASES } from '../helpers/route-rights.ts';
import { attackContent, whatIsMeant } from './ffuf.ts';
import { attackSignIn } from './hydra.ts';
import { preparePlace, type Place } from './place.ts';
import { ATTACKS, findingsOf, writeReport, type AttackName, type Section } from './report.ts';
import { sampleRequests, type Description } from './sample-requests.ts';
import { attackSlowly } from './slowhttptest.ts';
import { attackQueries } from './sqlmap.ts';
import { attackTls } from './testssl.ts';
import { requireAttackers } from './tools.ts';
import type { Outcome, Target } from './verdict.ts';
import { proveJudges } from './weaknesses.ts';

type Sections = Partial<Record<AttackName, Section>>;
/** What the report is written from, kept beside it, so that one tool alone can be run anew. */
const RESULTS = join(import.meta.dirname, 'results.json');

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    report: { type: 'string', default: join(import.meta.dirname, 'REPORT.md') },
  },
});
const chosen = ATTACKS.filter((name) => options.only === undefined || options.only.split(',').includes(name));
if (chosen.length === 0) {
  process.stderr.write(`--only takes: ${ATTACKS.join(', ')}\n`);
  process.exit(2);
}

const versions = await requireAttackers();
const folder = mkdtempSync(join(tmpdir(), 'holdfast-attack-'));
let place: Place | undefined;
const stop = async () => {
  await place?.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
};
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void stop().then(() => process.exit(130)));
try {
  place = await preparePlace(folder);
  const made: Sections = {};
  const proofs = await proveJudges(chosen, place.certificates, folder, say);
  const authority = readFileSync(place.certificates.authorityFile, 'utf8');
  const target: Target = { ...place, authority, authorityFile: place.certificates.authorityFile };
  for (const name of chosen) {
    const [startMs, run] = [performance.now(), attacksOf(place, target)[name]];
    say(`${name} …`);
    const outcomes = await run();
    const seconds = Math.round((performance.now() - startMs) / 1000);
    made[name] = { at: today(), seconds, proofs: proofs[name], outcomes };
    for (const outcome of outcomes) {
      for (const line of outcome.tried) say(`  ${line}`);
      for (const finding of outcome.findings) say(`  FOUND ${finding}`);
    }
    say(`  ${seconds} s`);
  }
  const sections = { ...readSections(), ...made };
  writeFileSync(RESULTS, `${JSON.stringify(sections, null, 2)}\n`);
  writeFileSync(resolve(options.report), writeReport(versions, sections));
  const found = chosen.flatMap((name) => (sections[name] === undefined ? [] : findingsOf(sections[name])));
  say(
    `${found.length === 0 ? 'nothing was found' : `${found.length} findings`}, ${Math.round(performance.now() / 1000)} s`,
  );
  process.exitCode = found.length === 0 ? 0 : 1;
} finally {
  await stop();
}

/** What each tool does to the appliance; sqlmap last, because its requests as the owner change things. */
function attacksOf(at: Place, target: Target): Record<AttackName, () => Promise<Outcome[]>> {
  const { owner, ...others } = at.people;
  const open = Object.entries(CASES).filter(
    ([route, access]) => route.startsWith('GET ') && access === 'public',
  );
  return {
    testssl: async () => [await attackTls(target, folder)],
    ffuf: async () => [
      await attackContent(target, folder, whatIsMeant(open.map(([route]) => route.slice(4)))),
    ],
    hydra: async () => [
      await attackSignIn(
        target,
        folder,
        owner,
        Object.values(others).map(({ email }) => email),
      ),
    ],
    slowhttptest: async () => {
      const paths = ['/health/ready', '/', '/api/v1/session', '/api/v1/workspaces'];
      return [await attackSlowly(target, folder, { paths, cookie: await at.cookieOf('member') })];
    },
    sqlmap: async () => {
      const described = await at.appliance.call<Description>('GET', '/api/openapi.json');
      const requests = sampleRequests(described.body, at.ids);
      const member = { who: 'the owner', network: '127.0.4.', cookie: () => at.cookieOf('owner') };
      // What is open to all is counted for the address, whoever asks: those are tried from many, as nobody.
      const closed = requests.filter(({ method, route }) => CASES[`${method} ${route}`] !== 'public');
      return Promise.all([
        attackQueries(target, folder, closed, member),
        attackQueries(target, folder, requests, { who: 'nobody', network: '127.0.5.' }),
      ]);
    },
  };
}

/** Of earlier runs; a whole run makes all of them anew. */
function readSections(): Sections {
  if (options.only === undefined || !existsSync(RESULTS)) return {};
  return JSON.parse(readFileSync(RESULTS, 'utf8')) as Sections;
}

function today(): string {
  return systemClock.now().toISOString().slice(0, 10);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
