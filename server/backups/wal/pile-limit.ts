/** How much of the log may pile up for a target that is away. */
import { statfs } from 'node:fs/promises';
import type { ClientBase } from 'pg';
import { readSlotBound } from '../../lib/postgres/index.ts';
import type { PointInTimeRow } from './point-in-time-queries.ts';

const GIB = 1024 ** 3;
/** Of the data disk. */
const SHARE = 0.1;
/** By itself. */
const MOST_BYTES = 16 * GIB;
const LEAST_BYTES = 64 * 1024 ** 2;
/** What is left free in any case: what piled up goes before the disk is full. */
const KEEP_FREE_SHARE = 0.05;

/**
 * The setting, or a tenth of the disk (at most 16 GiB); less where the disk is nearly full, and always less than what PostgreSQL itself
 * lets slots keep, so that we give a target up before PostgreSQL gives all of them up.
 */
export async function pileLimit(
  dataDir: string,
  settings: Pick<PointInTimeRow, 'pile_limit_bytes'>,
  client?: ClientBase,
): Promise<number> {
  const { bavail, blocks, bsize } = await statfs(dataDir);
  const byDisk = Math.min(MOST_BYTES, blocks * bsize * SHARE);
  const wanted = settings.pile_limit_bytes === null ? byDisk : Number(settings.pile_limit_bytes);
  const tight = bavail * bsize < blocks * bsize * KEEP_FREE_SHARE;
  const bound = client === undefined ? undefined : await readSlotBound(client);
  const limits = [tight ? LEAST_BYTES : wanted, ...(bound === undefined ? [] : [bound * 0.8])];
  return Math.floor(Math.max(LEAST_BYTES / 4, Math.min(...limits)));
}
