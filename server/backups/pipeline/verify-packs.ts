/** Verifies many packs on all threads. Nothing is restored; every stored byte is read. */
import { systemClock, type Clock } from '../../lib/clock.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { PackChunk, ReportProgress, RepositoryGeneration, TargetConfig } from '../engine.ts';
import type { PackReference } from './pack-reader.ts';
import { createProgressMeter } from './progress-meter.ts';
import type { ReadRequest, ReadResult, VerifyResult } from './read-messages.ts';
import { openReadPool } from './read-pool.ts';
import { createFirstFailure } from './first-failure.ts';

export interface PackToVerify extends PackReference {
  /** As a signed index lists them, in order of offset. */
  chunks?: PackChunk[];
}

export interface VerifyPacksReport {
  packs: number;
  chunks: number;
  /** Stored bytes that were read and hashed. */
  bytesRead: number;
  /** Content bytes that were decrypted, decompressed and compared with their ids. */
  bytesChecked: number;
  /** False without an identity: then only stored hashes were compared. */
  contentChecked: boolean;
  problems: { packId: string; reason: string }[];
}

/** @throws cancelled, unavailable. Damage is in the report. */
export async function verifyPacks(options: {
  target: TargetConfig;
  generations: readonly RepositoryGeneration[];
  packs: Iterable<PackToVerify> | AsyncIterable<PackToVerify>;
  signal?: AbortSignal;
  progress?: ReportProgress;
  clock?: Clock;
}): Promise<VerifyPacksReport> {
  const pool = openReadPool(options.target, options.generations);
  const progress = createProgressMeter(options.clock ?? systemClock, options.progress);
  const report: VerifyPacksReport = {
    packs: 0,
    chunks: 0,
    bytesRead: 0,
    bytesChecked: 0,
    contentChecked: options.generations.every((generation) => generation.identity !== undefined),
    problems: [],
  };
  const underWay = new Set<Promise<void>>();
  const failure = createFirstFailure();
  const settle = async (most: number): Promise<void> => {
    while (underWay.size > most) await Promise.race(underWay);
    failure.check();
    if (options.signal?.aborted === true) throw new HoldfastError('cancelled', 'The run was cancelled');
  };
  progress.step('verifying packs');
  try {
    for await (const { chunks, ...pack } of options.packs) {
      await settle(pool.width - 1);
      const way: Promise<void> = pool
        .run({ kind: 'verify', pack, chunks } satisfies ReadRequest)
        .then((result: ReadResult) => addResult(report, pack.packId, result as VerifyResult))
        .then((bytes) => progress.add({ filesDone: 1, bytesDone: bytes }))
        .catch((error: unknown) => {
          failure.note(error);
        })
        .finally(() => underWay.delete(way));
      underWay.add(way);
    }
    await settle(0);
  } finally {
    await pool.close();
  }
  progress.flush();
  return report;
}

function addResult(report: VerifyPacksReport, packId: string, result: VerifyResult): number {
  report.packs++;
  report.chunks += result.chunks;
  report.bytesRead += result.bytesRead;
  report.bytesChecked += result.bytesChecked;
  for (const reason of result.problems) report.problems.push({ packId, reason });
  return result.bytesRead;
}
