/**
 * `npm run bench`: Holdfast's engine beside restic and the tar, zstd and age pipe, on the same data in the same minutes.
 *
 *   --size small|appliance|full|tenfold   data: 140 MiB, 1 GiB, 1.4 GiB (default), 14 GiB
 *   --rounds N                  each round in the other order; the best of each is compared (default 2)
 *   --folder DIR                where to work (default: a new folder below the system's temporary one)
 *   --appliance                 a whole appliance instead: time and memory of all its processes, idle and at work;
 *                               no peer, and every round is shown
 *   --json                      one JSON list of { work, peer, holdfast, peerValue, unit, ratio, aim, met } on standard output
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { describeFigures, measureAppliance } from './bench/appliance.ts';
import {
  createHoldfast,
  createPipe,
  createRestic,
  findProgram,
  ownNumbers,
  sameContent,
  type Contender,
} from './bench/contenders.ts';
import {
  changeOnePercent,
  CORPUS_SIZES,
  makeCorpus,
  smallFilePath,
  type CorpusSize,
} from './bench/corpus.ts';
import type { Measured } from './bench/measure.ts';

interface Line {
  work: string;
  peer: string;
  holdfast: number;
  peerValue: number | null;
  unit: 's' | 'MiB';
  ratio: number | null;
  aim: number | null;
  met: boolean | null;
}

const WORKS = ['first', 'unchanged', 'changed 1 %', 'restore', 'verify'] as const;
type Work = (typeof WORKS)[number];

/** DESIGN, "Speed, memory, growth": the most that Holdfast may take of what restic takes. */
const AIMS: Record<Work, number> = {
  first: 0.55,
  unchanged: 0.5,
  'changed 1 %': 0.5,
  restore: 0.8,
  verify: 0.7,
};
const STORED_AIM = 1.05;
const PEAK_AIM_MIB = 256;
const MIB = 1024 * 1024;

const { values: options } = parseArgs({
  options: {
    size: { type: 'string', default: 'full' },
    rounds: { type: 'string', default: '2' },
    folder: { type: 'string' },
    seed: { type: 'string', default: 'holdfast' },
    appliance: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const size = CORPUS_SIZES[options.size];
const rounds = Number(options.rounds);
if (size === undefined || !Number.isInteger(rounds) || rounds < 1) {
  process.stderr.write(
    `--size is one of ${Object.keys(CORPUS_SIZES).join(', ')}; --rounds a number from 1\n`,
  );
  process.exit(2);
}

const say = (text: string): void => void process.stderr.write(`${text}\n`);
const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
try {
  if (options.appliance) await runAppliance(folder, size);
  else {
    const results = await runAll(folder, size);
    const lines = compare(results);
    if (options.json) process.stdout.write(`${JSON.stringify(lines, undefined, 2)}\n`);
    else print(results, lines);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function runAppliance(top: string, corpusSize: CorpusSize): Promise<void> {
  for (let round = 1; round <= rounds; round++) {
    const place = mkdtempSync(join(top, 'appliance-'));
    const figures = await measureAppliance({
      folder: place,
      size: corpusSize,
      seed: options.seed,
      idleSeconds: 10,
    });
    rmSync(place, { recursive: true, force: true });
    const phases = [...figures].map(
      ([
        phase,
        {
          seconds,
          memory: { all, roles, atPeak },
        },
      ]) => ({
        ...{ phase, seconds, all, roles: Object.fromEntries(roles), atPeak: Object.fromEntries(atPeak) },
      }),
    );
    if (options.json) process.stdout.write(`${JSON.stringify(phases)}\n`);
    else process.stdout.write(`${describeFigures(figures)}\n`);
  }
}

interface Best {
  seconds: number;
  peakMebibytes: number;
}
interface Result {
  name: string;
  works: Map<Work, Best>;
  storedBytes: number;
  /** Of Holdfast's first snapshot: to the last durable pack, and to the last one read back. */
  own: { writtenSeconds: number; storedSeconds: number } | undefined;
}

async function runAll(top: string, corpusSize: CorpusSize): Promise<Result[]> {
  const corpus = join(top, 'corpus');
  say(`making the data in ${corpus}`);
  const bytes = makeCorpus(corpus, corpusSize, options.seed);
  say(`${corpusSize.smallFiles + 1} files, ${(bytes / MIB).toFixed(0)} MiB`);
  const contenders = await chooseContenders(top);
  const results = contenders.map(({ name }): Result => ({
    name,
    works: new Map(),
    storedBytes: 0,
    own: undefined,
  }));
  for (let round = 0; round < rounds; round++) {
    const order = contenders.map((contender, at) => ({ contender, result: results[at] }));
    if (round % 2 === 1) order.reverse();
    for (const { contender } of order) await contender.prepare();
    for (const work of WORKS) {
      if (work === 'changed 1 %') changeOnePercent(corpus, corpusSize, `${options.seed}/${round}`);
      for (const { contender, result } of order) {
        if (result === undefined) continue;
        const measured = await runWork(contender, work, corpus, join(top, 'restored'), corpusSize);
        if (measured !== undefined) note(result, work, measured, contender);
      }
    }
  }
  return results;
}

async function chooseContenders(top: string): Promise<Contender[]> {
  const contenders = [createHoldfast(join(top, 'holdfast'))];
  const restic = findProgram('restic');
  if (restic === undefined) say('restic is not here, so it is not compared: apt-get install restic');
  else contenders.push(createRestic(restic, join(top, 'restic')));
  const missing = ['tar', 'zstd', 'age'].filter((name) => findProgram(name) === undefined);
  if (missing.length > 0) say(`the pipe is not compared: apt-get install ${missing.join(' ')}`);
  else contenders.push(await createPipe(join(top, 'pipe')));
  return contenders;
}

async function runWork(
  contender: Contender,
  work: Work,
  corpus: string,
  restored: string,
  corpusSize: CorpusSize,
): Promise<Measured | undefined> {
  if (work === 'verify') return contender.verify?.();
  if (work === 'restore') {
    const measured = await contender.restore(restored);
    checkRestored(contender.name, corpus, restored, corpusSize);
    rmSync(restored, { recursive: true, force: true });
    return measured;
  }
  // The pipe knows no difference between a first and a further copy.
  if (contender.verify === undefined && work !== 'first' && work !== 'changed 1 %') return undefined;
  return contender.snapshot(corpus);
}

/** A tool that restores quickly but wrongly has not won. restic restores below the whole path of the source. */
function checkRestored(name: string, corpus: string, restored: string, corpusSize: CorpusSize): void {
  const root = name === 'restic' ? join(restored, corpus) : restored;
  for (const path of [
    join(corpus, 'large.bin'),
    ...[0, 7, corpusSize.smallFiles - 1].map((at) => smallFilePath(corpus, at)),
  ]) {
    if (!sameContent(path, join(root, path.slice(corpus.length))))
      throw new Error(`${name} restored ${path} wrongly`);
  }
}

function note(result: Result, work: Work, measured: Measured, contender: Contender): void {
  const before = result.works.get(work);
  result.works.set(work, {
    seconds: Math.min(before?.seconds ?? Infinity, measured.seconds),
    peakMebibytes: Math.max(before?.peakMebibytes ?? 0, measured.peakMebibytes),
  });
  say(`${result.name}: ${work}: ${measured.seconds.toFixed(2)} s, ${measured.peakMebibytes.toFixed(0)} MiB`);
  if (work !== 'first') return;
  result.storedBytes = contender.storedBytes();
  if (result.name !== 'holdfast') return;
  const own = ownNumbers(measured);
  const startSeconds = measured.seconds - (own.storedAfterMs ?? 0) / 1000;
  const writtenSeconds = startSeconds + (own.writtenAfterMs ?? 0) / 1000;
  if (result.own === undefined || writtenSeconds < result.own.writtenSeconds) {
    result.own = { writtenSeconds, storedSeconds: measured.seconds };
  }
}

function compare(results: readonly Result[]): Line[] {
  const lines: Line[] = [];
  const [own, ...peers] = results;
  if (own === undefined) return lines;
  for (const peer of peers) {
    const judged = peer.name === 'restic';
    for (const [work, { seconds }] of own.works) {
      const other = peer.works.get(work)?.seconds;
      if (other !== undefined)
        lines.push(lineOf(work, peer.name, seconds, other, 's', judged ? AIMS[work] : null));
    }
    const stored = [own.storedBytes / MIB, peer.storedBytes / MIB] as const;
    lines.push(lineOf('bytes stored', peer.name, stored[0], stored[1], 'MiB', judged ? STORED_AIM : null));
  }
  for (const [work, { peakMebibytes }] of own.works) {
    const peer = peers.find(({ name }) => name === 'restic')?.works.get(work)?.peakMebibytes;
    lines.push({
      ...lineOf(`peak memory, ${work}`, 'restic', peakMebibytes, peer ?? null, 'MiB', null),
      aim: PEAK_AIM_MIB,
      met: peakMebibytes <= PEAK_AIM_MIB,
    });
  }
  return lines;
}

function lineOf(
  work: string,
  peer: string,
  holdfast: number,
  peerValue: number | null,
  unit: Line['unit'],
  aim: number | null,
): Line {
  const ratio = peerValue === null ? null : rounded(holdfast / peerValue);
  const met = aim === null || ratio === null ? null : ratio <= aim;
  return {
    work,
    peer,
    holdfast: rounded(holdfast),
    peerValue: peerValue === null ? null : rounded(peerValue),
    unit,
    ratio,
    aim,
    met,
  };
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function print(results: readonly Result[], lines: readonly Line[]): void {
  const out: string[] = ['', ['', ...WORKS, 'stored MiB'].map((head) => head.padStart(13)).join('')];
  for (const { name, works, storedBytes } of results) {
    const cells = WORKS.map((work) => works.get(work)?.seconds.toFixed(2) ?? '');
    out.push([name, ...cells, (storedBytes / MIB).toFixed(0)].map((cell) => cell.padStart(13)).join(''));
  }
  const own = results[0]?.own;
  if (own !== undefined) {
    out.push(
      '',
      `first snapshot: written after ${own.writtenSeconds.toFixed(2)} s, stored (read back) after ${own.storedSeconds.toFixed(2)} s`,
    );
  }
  out.push('');
  for (const { work, peer, holdfast, ratio, aim, met, unit } of lines) {
    const verdict = met === null ? '' : met ? 'met' : 'MISSED';
    const limit =
      aim === null ? '' : unit === 'MiB' && work.startsWith('peak') ? `aim ${aim} MiB` : `aim ${aim}`;
    const shown = work.startsWith('peak')
      ? `${holdfast.toFixed(0)} MiB`
      : `${ratio?.toFixed(2) ?? '-'} x ${peer}`;
    out.push([work.padEnd(26), shown.padEnd(22), limit.padEnd(14), verdict].join('').trimEnd());
  }
  process.stdout.write(`${out.join('\n')}\n`);
}
