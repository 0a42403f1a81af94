/**
 * Puts right what was damaged or lost on one target with what another target of the same repository holds. Every object but the heads
 * is named by the hash of its bytes, so a copy proves itself, whoever kept it; heads are each target's own.
 */
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError, messageOf } from '../../lib/errors.ts';
import type { Target } from '../engine.ts';
import {
  packName,
  parseKeyringName,
  parseNumberedName,
  parsePackName,
  sha256Of,
} from '../objects/object-names.ts';
import type { WriterState } from './writer-state.ts';

export interface RepairReport {
  /** Names of what is whole again. */
  repaired: string[];
  /** What the other target could not help with, in plain words. */
  left: { name: string; reason: string }[];
}

/**
 * One after the other, each in memory for a moment. What is whole already is not touched.
 *
 * @throws locked when another writer has come; unavailable when either target goes away.
 */
export async function repair(
  state: WriterState,
  source: Target,
  names: readonly string[],
  signal?: AbortSignal,
): Promise<RepairReport> {
  const report: RepairReport = { repaired: [], left: [] };
  for (const name of new Set(names)) {
    if (signal?.aborted === true) throw new HoldfastError('cancelled', 'The run was cancelled');
    const reason = await repairOne(state, source, name);
    if (reason === undefined) report.repaired.push(name);
    else report.left.push({ name, reason });
  }
  const whole = new Set(report.repaired);
  const { catalogue } = state.repository;
  const changes = [...catalogue.packs()].filter((pack) => whole.has(packName(pack.id)));
  catalogue.setPackStates(changes.map(({ row }) => ({ row, state: 'present' })));
  return report;
}

/** @returns why it could not be done; undefined when the object is whole. */
async function repairOne(state: WriterState, source: Target, name: string): Promise<string | undefined> {
  const { target } = state.repository;
  const sha256 = hashIn(name);
  if (sha256 === undefined) return 'It is of this target alone';
  if ((await hashOn(target, name)) === sha256) return undefined;
  if ((await hashOn(source, name)) !== sha256) return 'The other target has no whole copy of it';
  const stored = await source.read(name);
  if (sha256Of(stored) !== sha256) return 'The copy changed while it was read';
  await state.claim.check();
  const held = (await target.find(name)) === undefined ? undefined : await target.delete(name);
  if (held !== undefined) return 'The lock of this target keeps what is damaged';
  crashPoint('backups.repair.removed');
  await target.write(name, stored);
  if ((await hashOn(target, name)) !== sha256) return 'It was written again, and is damaged again';
  crashPoint('backups.repair.written');
  return undefined;
}

function hashIn(name: string): string | undefined {
  const numbered = (['keys', 'index', 'snapshots'] as const)
    .map((kind) => parseNumberedName(kind, name))
    .find((one) => one !== undefined);
  return parsePackName(name) ?? parseKeyringName(name)?.sha256 ?? numbered?.sha256;
}

/** @returns undefined when it is not there, or cannot be read to its end. */
async function hashOn(target: Target, name: string): Promise<string | undefined> {
  try {
    return (await target.readBack(name)).sha256;
  } catch (error) {
    if (error instanceof HoldfastError && ['not_found', 'integrity_failure'].includes(error.code))
      return undefined;
    throw error instanceof HoldfastError
      ? error
      : new HoldfastError('unavailable', messageOf(error), { cause: error });
  }
}
