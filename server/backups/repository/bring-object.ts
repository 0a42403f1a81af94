/**
 * Brings one object from another target of the same repository. Its name, or the index that lists it, says its hash, so a copy proves
 * itself, whoever kept it.
 *
 * Guarantees: the source is read once; nothing is removed before the source's bytes have that hash and the claim still holds; what is
 * written is durable and read back.
 */
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Target } from '../engine.ts';
import { sha256Of } from '../objects/object-names.ts';
import { publish } from './object-store.ts';
import type { WriterState } from './writer-state.ts';

export interface WantedObject {
  name: string;
  sha256: string;
  /** Where it is known. */
  sizeBytes?: number;
}

export type Brought =
  | { state: 'whole' | 'brought' }
  /** Nothing was changed. */
  | { state: 'not-whole-at-source' }
  /** What is damaged cannot be removed; undefined when the target does not say until when. */
  | { state: 'locked'; until: Date | undefined };

/** No object is longer: a source must not fill the memory with one that is. */
const MOST_BYTES = 256 * 1024 ** 2;

/**
 * @param step names the crash points: `removed`, `written`, `verified`.
 * @throws integrity_failure when the target does not give back what was written; locked; what either target throws.
 */
export async function bringObject(
  { repository: { target: to }, claim }: Pick<WriterState, 'repository' | 'claim'>,
  source: Target,
  wanted: WantedObject,
  step: string,
): Promise<Brought> {
  const there = await to.find(wanted.name);
  if (
    there !== undefined &&
    fits(wanted, there.sizeBytes) &&
    (await hashOn(to, wanted.name)) === wanted.sha256
  )
    return { state: 'whole' };
  const stored = await readWhole(source, wanted);
  if (stored === undefined) return { state: 'not-whole-at-source' };
  await claim.check();
  if (there !== undefined) {
    const held = await to.delete(wanted.name);
    if (held !== undefined) return { state: 'locked', until: held.until };
    crashPoint(`${step}.removed`);
  }
  await publish(to, wanted.name, stored, step);
  return { state: 'brought' };
}

async function readWhole(source: Target, wanted: WantedObject): Promise<Buffer | undefined> {
  const found = await source.find(wanted.name);
  if (found === undefined || !fits(wanted, found.sizeBytes)) return undefined;
  const stored = await undefinedWhenDamaged(() => source.read(wanted.name));
  return stored !== undefined && sha256Of(stored) === wanted.sha256 ? stored : undefined;
}

function fits({ sizeBytes }: WantedObject, found: number): boolean {
  return found <= MOST_BYTES && (sizeBytes === undefined || found === sizeBytes);
}

async function hashOn(target: Target, name: string): Promise<string | undefined> {
  return (await undefinedWhenDamaged(() => target.readBack(name)))?.sha256;
}

async function undefinedWhenDamaged<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof HoldfastError && ['not_found', 'integrity_failure'].includes(error.code))
      return undefined;
    throw error;
  }
}
