/**
 * slowhttptest: a thousand connections that hardly move. What counts is not what the tool says of its own connections, but that others are
 * served while it goes on.
 */
import { ask } from './asking.ts';
import { addressesIn, relayFrom } from './relay.ts';
import { runTool } from './tools.ts';
import { findBreaks, type Outcome, type Target } from './verdict.ts';

export interface Mode {
  name: string;
  args: readonly string[];
  path: string;
  /** Straight from one address: a relay would read what the tool does not. */
  direct?: boolean;
}

const SECONDS = 40;
const COMMON = ['-r', '200', '-p', '3', '-v', '1'];

/** A cookie with a line break brings the header that a request to the API needs. */
const MARK = ['-j', 'a=b\r\nx-holdfast: 1'];

export const MODES: readonly Mode[] = [
  { name: 'slow headers', args: ['-H', '-c', '1000', '-i', '8', '-x', '24'], path: '/' },
  {
    name: 'slow body',
    args: ['-B', '-c', '1000', '-i', '8', '-s', '8192', '-x', '10', '-f', 'application/json', ...MARK],
    path: '/api/v1/session',
  },
  {
    name: 'slow read',
    args: ['-X', '-c', '1000', '-w', '1', '-y', '16', '-n', '5', '-z', '8', '-k', '3'],
    path: '/api/openapi.json',
    direct: true,
  },
  { name: 'many ranges', args: ['-R', '-c', '500', '-s', '10', '-a', '1', '-b', '1500'], path: '/theme.js' },
];

const PROBE_LIMIT_MS = 5_000;
const SLOWEST_P99_MS = 3_000;
/** A tool that has sent all it has is over sooner. */
const LEAST_PROBES = 10;

export interface Probe {
  /** Milliseconds to a whole answer; undefined: none came, or another than meant. */
  ms: number | undefined;
  path: string;
}

/** Pure. */
export function judgeProbes(mode: string, probes: readonly Probe[]): string[] {
  const missed = probes.filter(({ ms }) => ms === undefined);
  const p99 = percentile(probes, 0.99);
  return [
    ...(missed.length > 0
      ? [
          `${mode}: ${missed.length} of ${probes.length} requests of others got no answer (${missed[0]?.path ?? ''})`,
        ]
      : []),
    ...(p99 > SLOWEST_P99_MS ? [`${mode}: others waited ${Math.round(p99)} ms (p99)`] : []),
    ...(probes.length < LEAST_PROBES ? [`${mode}: only ${probes.length} requests of others were made`] : []),
  ];
}

/** @param others what somebody else asks for meanwhile, and the cookie for it. */
export async function attackSlowly(
  target: Target,
  folder: string,
  others: { paths: readonly string[]; cookie?: string },
  { modes = MODES, seconds = SECONDS }: { modes?: readonly Mode[]; seconds?: number } = {},
): Promise<Outcome> {
  const network = '127.0.9.';
  const outcome: Outcome = {
    name: 'slowhttptest: connections that hardly move',
    commands: [],
    tried: [],
    findings: [],
  };
  const relay = await relayFrom(addressesIn(network, 8), target.port);
  try {
    for (const { name, args, path, direct = false } of modes) {
      const probing = probe(target, others);
      const url = `https://127.0.0.1:${direct ? target.port : relay.port}${path}`;
      const ran = await runTool('slowhttptest', [...args, '-l', `${seconds}`, ...COMMON, '-u', url], {
        cwd: folder,
        timeoutMs: (seconds + 30) * 1000,
      });
      const probes = await probing.stop();
      const connected = mostConnected(ran.stdout);
      outcome.commands.push(
        `slowhttptest ${args.map(quote).join(' ')} -l ${seconds} ${COMMON.join(' ')} -u https://127.0.0.1:PORT${path}`,
      );
      outcome.tried.push(
        `${name}: ${connected === 0 ? 'connections all answered before they could be counted' : `up to ${connected} connections`}${direct ? ', from one address' : ', from eight addresses'}; ${probes.length} requests of others, ` +
          `p50 ${Math.round(percentile(probes, 0.5))} ms, p99 ${Math.round(percentile(probes, 0.99))} ms`,
      );
      outcome.findings.push(
        ...judgeProbes(name, probes),
        ...(connected === 0 && !allAnswered(ran.stdout) ? [`${name}: the tool opened no connection`] : []),
      );
    }
  } finally {
    await relay.close();
  }
  outcome.findings.push(...findBreaks(await target.answersTo(network)));
  return outcome;
}

/** What the tool says every few seconds of its connections, open or answered already. Pure. */
export function mostConnected(output: string): number {
  const plain = output.replace(/\u001b\[[\d;]*m/g, '');
  const counts = [...plain.matchAll(/(?:connected|closed):\s+(\d+)/g)].map(([, count]) => Number(count));
  return Math.max(0, ...counts);
}

/** Whether the tool had nothing left to do before its time, which it says where all were answered before it counted first. Pure. */
export function allAnswered(output: string): boolean {
  return output.includes('No open connections left');
}

function probe(target: Target, { paths, cookie }: { paths: readonly string[]; cookie?: string }) {
  const probes: Probe[] = [];
  const state = { over: false };
  const work = (async () => {
    for (let turn = 0; !state.over; turn += 1) {
      const path = paths[turn % paths.length] ?? '/';
      const start = performance.now();
      const asked = {
        path,
        from: '127.0.10.1',
        timeoutMs: PROBE_LIMIT_MS,
        ...(cookie === undefined ? {} : { cookie }),
      };
      const status = await ask(target, asked).then(
        (answer) => answer.status,
        () => 0,
      );
      probes.push({ path, ms: status === 200 ? performance.now() - start : undefined });
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  })();
  return {
    stop: async (): Promise<Probe[]> => {
      state.over = true;
      await work;
      return probes;
    },
  };
}

function percentile(probes: readonly Probe[], share: number): number {
  const times = probes.map(({ ms }) => ms ?? PROBE_LIMIT_MS).sort((one, other) => one - other);
  return times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0;
}

function quote(word: string): string {
  return /^[\w./-]+$/.test(word) ? word : `'${word.replace('\r\n', '\\r\\n')}'`;
}
