/**
 * Puts right what was damaged or lost on one target with what another target of the same repository holds. Every object but the heads
 * is named by the hash of its bytes, so a copy proves itself, whoever kept it; heads are each target's own.
 */
import { HoldfastError } from '../../lib/errors.ts';
import type { Target } from '../engine.ts';
import { packName } from '../objects/object-names.ts';
import { bringObject } from './bring-object.ts';
import { hashInName } from './hash-in-name.ts';
import { SourceFailed } from './source-failed.ts';
import type { WriterState } from './writer-state.ts';

export interface RepairReport {
  /** Names of what was brought, and is whole again. */
  repaired: string[];
  /** Names of what has the bytes that its name says, so nothing was done to it. What was found in it, another reading has to tell. */
  whole: string[];
  /** What the other target could not help with, in plain words. */
  left: { name: string; reason: string }[];
  /** The other target went away; what was not asked for by then is left. */
  failed?: SourceFailed;
}

/**
 * One after the other, each in memory for a moment. What is whole already is not touched.
 *
 * @param source throws SourceFailed when it fails.
 * @throws locked when another writer has come; what the target that is repaired throws.
 */
export async function repair(
  state: WriterState,
  source: Target,
  names: readonly string[],
  signal?: AbortSignal,
): Promise<RepairReport> {
  const report: RepairReport = { repaired: [], whole: [], left: [] };
  for (const name of new Set(names)) {
    if (signal?.aborted === true) throw new HoldfastError('cancelled', 'The run was cancelled');
    const done = report.failed ? { reason: report.failed.message } : await repairOne(state, source, name);
    if (done instanceof SourceFailed) report.failed = done;
    if (typeof done === 'string') report[done].push(name);
    else report.left.push({ name, reason: done instanceof SourceFailed ? done.message : done.reason });
  }
  const repaired = new Set(report.repaired);
  const { catalogue } = state.repository;
  const changes = [...catalogue.packs()].filter((pack) => repaired.has(packName(pack.id)));
  catalogue.setPackStates(changes.map(({ row }) => ({ row, state: 'present' })));
  return report;
}

type Done = 'repaired' | 'whole' | { reason: string } | SourceFailed;

async function repairOne(state: WriterState, source: Target, name: string): Promise<Done> {
  const sha256 = hashInName(name);
  if (sha256 === undefined) return { reason: 'It is of this target alone' };
  try {
    const done = await bringObject(state, source, { name, sha256 }, 'backups.repair');
    if (done.state === 'not-whole-at-source') return { reason: 'The other target has no whole copy of it' };
    if (done.state === 'locked') return { reason: 'The lock of this target keeps what is damaged' };
    return done.state === 'brought' ? 'repaired' : 'whole';
  } catch (error) {
    if (error instanceof SourceFailed) return error;
    if (error instanceof HoldfastError && error.code === 'integrity_failure')
      return { reason: 'It was written again, and is damaged again' };
    throw error;
  }
}
