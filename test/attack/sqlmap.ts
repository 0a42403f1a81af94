/**
 * sqlmap: every parameter of every route that takes a query or a body, as somebody who is signed in and as nobody. It knows no TLS 1.3
 * alone, so a relay speaks that for it. A cookie that is older than a few minutes proves no fresh sign-in any more, so routes go in
 * small groups, each with a session of its own.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { addressesIn, relayFrom } from './relay.ts';
import type { SampleRequest } from './sample-requests.ts';
import { runTool } from './tools.ts';
import { countStatuses, findBreaks, type Answer, type Outcome, type Target } from './verdict.ts';

const GROUP = 12;
const GROUP_LIMIT_MS = 240_000;
const OPTIONS = [
  ...['--ignore-stdin', '--batch', '--disable-coloring', '--level=1', '--risk=1', '--dbms=PostgreSQL'],
  ...['--param-exclude=holdfast', '--drop-set-cookie', '--ignore-proxy', '--timeout=15', '--retries=1'],
  '--ignore-code=400,401,403,404,405,409,413,415,428,429,500,503',
];

export interface Reading {
  /** How many targets it began with. */
  begun: number;
  /** How many parameters it said something final of. */
  parameters: number;
  /** Routes' addresses, with what can be done there. */
  injectable: string[];
  /** What kept it from trying. */
  failures: string[];
}

/** What sqlmap says on its output. Pure. */
export function readSqlmap(output: string): Reading {
  const reading: Reading = { begun: 0, parameters: 0, injectable: [], failures: [] };
  let url = '';
  const lines = output.split('\n');
  for (const [index, line] of lines.entries()) {
    const target = /\[INFO\] testing URL '([^']+)'/.exec(line)?.[1];
    if (target !== undefined) {
      url = target;
      reading.begun += 1;
    }
    if (/parameter '.*' does not seem to be injectable/.test(line)) reading.parameters += 1;
    if (
      /sqlmap identified the following injection point|sqlmap resumed the following injection point/.test(
        line,
      )
    ) {
      const parameter = lines.slice(index + 1, index + 6).find((one) => one.startsWith('Parameter: '));
      reading.injectable.push(`${url.split('?')[0] ?? ''}, ${parameter?.slice('Parameter: '.length) ?? '?'}`);
    }
    // The page said what a database says, whether or not more could be made of it.
    if (/heuristic \(basic\) test shows that .* might be injectable/.test(line))
      reading.injectable.push(`${url.split('?')[0] ?? ''}: ${line.replace(/^.*\[INFO\] /, '')}`);
    if (isFailure(line))
      reading.failures.push(`${url.split('?')[0] ?? ''}: ${line.replace(/^\[[\d:]+\] /, '')}`);
  }
  return reading;
}

/** Whether it gave a target up. What it only remarks, or tries again, is none: a page that changes, a slow answer, a broken connection. */
function isFailure(line: string): boolean {
  if (line.includes('skipping to the next target')) return !line.includes('all tested parameters');
  return line.includes('[CRITICAL]') && !/going to retry|heuristics detected|considerable lagging/.test(line);
}

/** Pure. @param answers by the target's own log. */
export function judgeSqlmap(
  readings: readonly Reading[],
  requests: readonly SampleRequest[],
  answers: readonly Answer[],
): string[] {
  const begun = sum(readings, (one) => one.begun);
  const asked = new Set(
    answers.filter(({ status }) => status !== 429).map(({ method, route }) => `${method} ${route ?? ''}`),
  );
  return [
    ...readings.flatMap(({ injectable }) => injectable.map((where) => `injectable: ${where}`)),
    ...readings.flatMap(({ failures }) => failures.map((why) => `not tried: ${why}`)),
    ...(begun < requests.length ? [`only ${begun} of ${requests.length} routes were begun`] : []),
    ...requests
      .filter(({ method, route }) => !asked.has(`${method} ${route}`))
      .map(({ method, route }) => `nothing but refusals for too many requests at ${method} ${route}`),
    ...findBreaks(answers),
  ];
}

interface Attack {
  who: string;
  /** Anew for each group; undefined for nobody. */
  cookie?: () => Promise<string>;
  /** `127.0.4.`; nobody comes from many addresses of it, so that limits of an address do not save a route from being tried. */
  network: string;
}

export async function attackQueries(
  target: Target,
  folder: string,
  requests: readonly SampleRequest[],
  { who, cookie, network }: Attack,
): Promise<Outcome> {
  const addresses = addressesIn(network, cookie === undefined ? 250 : 1);
  const relay = await relayFrom(addresses, target.port, target.authority);
  const readings: Reading[] = [];
  const late: string[] = [];
  const again: string[] = [];
  const ask = async (group: readonly SampleRequest[], name: string): Promise<Reading> => {
    const place = join(folder, `sqlmap-${who.replaceAll(' ', '-')}-${name}`);
    await mkdir(place);
    const file = join(place, 'requests.txt');
    const held = await cookie?.();
    await writeFile(file, group.map((one) => conversation(one, relay.port, held)).join('\n'), {
      mode: 0o600,
    });
    const where = ['-l', file, '--output-dir', join(place, 'out')];
    // Nobody comes by a new connection, and so from another address, each time.
    const keeping = held === undefined ? [] : ['--keep-alive'];
    const ran = await runTool('sqlmap', [...where, ...OPTIONS, ...keeping], {
      ...{ cwd: place, timeoutMs: GROUP_LIMIT_MS },
    });
    if (ran.timedOut)
      late.push(`a group did not finish in its time: ${group.map(({ route }) => route).join(', ')}`);
    return readSqlmap(ran.stdout);
  };
  try {
    for (let first = 0; first < requests.length; first += GROUP) {
      const group = requests.slice(first, first + GROUP);
      const reading = await ask(group, `${first}`);
      if (reading.injectable.length === 0 && reading.begun === group.length) readings.push(reading);
      else {
        // What can be injected can be injected twice. It guesses by what changes and by how long answers take, so that a busy machine
        // or a route that makes something misleads it; and where it believes to have found something it leaves the rest out.
        again.push(...reading.injectable.map((what) => `said once, and asked again alone: ${what}`));
        for (const [index, one] of group.entries()) readings.push(await ask([one], `${first}-${index}`));
      }
    }
  } finally {
    await relay.close();
  }
  const answers = await target.answersTo(cookie === undefined ? network : (addresses[0] ?? ''));
  const past = new Set(
    answers.filter(({ status }) => status < 300).map(({ method, route }) => `${method} ${route ?? ''}`),
  );
  return {
    name: `sqlmap: injection, as ${who}`,
    commands: [`sqlmap -l REQUESTS --output-dir FOLDER ${OPTIONS.join(' ')}`],
    tried: [
      `${requests.length} routes with ${sum(requests, (one) => one.parameters)} parameters; ${sum(readings, (one) => one.parameters)} judged by the tool`,
      `${answers.length} requests by the appliance's own log: ${countStatuses(answers)}`,
      `${past.size} of the routes also answered with success`,
      ...again,
    ],
    findings: [...judgeSqlmap(readings, requests, answers), ...late],
  };
}

/** As a proxy would have written it down. */
function conversation(
  { method, url, body }: SampleRequest,
  port: number,
  cookie: string | undefined,
): string {
  const rule = '='.repeat(54);
  return [
    ...[rule, `12:00:00  http://localhost:${port}  [127.0.0.1]`, rule],
    ...[`${method} ${url} HTTP/1.1`, `Host: localhost:${port}`, 'x-holdfast: 1'],
    ...(cookie === undefined ? [] : [`Cookie: ${cookie}`]),
    ...(body === undefined ? [''] : ['Content-Type: application/json', '', body]),
    ...[rule, ''],
  ].join('\n');
}

function sum<T>(of: readonly T[], what: (one: T) => number): number {
  return of.reduce((total, one) => total + what(one), 0);
}
