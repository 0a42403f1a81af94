/**
 * Watches what the processes of a running appliance hold, PostgreSQL's apart. Two figures: RSS counts a page that several
 * processes share once for each of them; PSS divides it among them, so that only the sum of PSS is what the machine gives.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';

const SAMPLE_MS = 100;

/** Highest values, in MiB. */
export interface Peak {
  pss: number;
  rss: number;
}

/** The peak of each role, and of all at the same moment. */
export interface MemoryPeaks {
  roles: Map<string, Peak>;
  all: Peak;
  /** PSS of each role at the moment at which all together were highest. */
  atPeak: Map<string, number>;
}

export interface MemoryWatch {
  /** What was seen since the last call. */
  take(): MemoryPeaks;
  stop(): void;
}

/** Looks at `rootPid` and everything below it ten times a second. */
export function watchMemory(rootPid: number): MemoryWatch {
  let peaks = noPeaks();
  const look = () => addSample(peaks, sampleTree(rootPid));
  const timer = setInterval(look, SAMPLE_MS);
  return {
    take() {
      look();
      const seen = peaks;
      peaks = noPeaks();
      return seen;
    },
    stop: () => clearInterval(timer),
  };
}

interface Sample {
  role: string;
  pss: number;
  rss: number;
}

function noPeaks(): MemoryPeaks {
  return { roles: new Map(), all: { pss: 0, rss: 0 }, atPeak: new Map() };
}

function addSample(peaks: MemoryPeaks, samples: readonly Sample[]): void {
  // A role that runs twice counts with both.
  const now = new Map<string, Peak>();
  for (const { role, pss, rss } of samples) {
    const before = now.get(role);
    now.set(role, { pss: pss + (before?.pss ?? 0), rss: rss + (before?.rss ?? 0) });
  }
  const all = { pss: 0, rss: 0 };
  for (const [role, { pss, rss }] of now) {
    const before = peaks.roles.get(role);
    peaks.roles.set(role, { pss: Math.max(pss, before?.pss ?? 0), rss: Math.max(rss, before?.rss ?? 0) });
    all.pss += pss;
    all.rss += rss;
  }
  peaks.all.rss = Math.max(peaks.all.rss, all.rss);
  if (all.pss <= peaks.all.pss) return;
  peaks.all.pss = all.pss;
  peaks.atPeak = new Map([...now].map(([role, { pss }]) => [role, pss]));
}

function sampleTree(pid: number, samples: Sample[] = []): Sample[] {
  try {
    const role = roleOf(pid);
    if (role === undefined) return samples;
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    samples.push({ role, pss: mebibytes(rollup, 'Pss'), rss: mebibytes(rollup, 'Rss') });
    const below = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    if (below !== '') for (const child of below.split(' ')) sampleTree(Number(child), samples);
  } catch {
    // It has ended between two looks.
  }
  return samples;
}

/** @returns undefined for PostgreSQL, whose own children are not looked at either */
function roleOf(pid: number): string | undefined {
  const program = basename(readlinkSync(`/proc/${pid}/exe`));
  if (['postgres', 'pg_ctl', 'initdb', 'pg_amcheck'].includes(program)) return undefined;
  const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  const entry = words
    .map((word) => /\/server\/(\w+)\.ts$/.exec(word)?.[1])
    .find((name) => name !== undefined);
  if (words.includes('--scratch')) return 'scratch keyd';
  if (entry === 'main') return 'server';
  return entry ?? (words.includes('serve') ? 'supervisor' : program);
}

function mebibytes(rollup: string, name: string): number {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1];
  return found === undefined ? 0 : Number(found) / 1024;
}
