/**
 * Reads packs that no index names yet: those of new files, which the log's lists name until a snapshot takes them over, and what a run that
 * was cut off left. A pack is named by its hash, so its bytes can be compared without an index; what is inside cannot.
 */
import { createHash } from 'node:crypto';
import { HoldfastError } from '../../lib/errors.ts';
import type { Target } from '../engine.ts';
import { packName } from '../objects/object-names.ts';
import { listPacks } from './listing.ts';
import type { Repository } from './open-repository.ts';

const STEP_BYTES = 8 * 1024 ** 2;

/** @throws cancelled; what the target throws. What is damaged is noted. */
export async function verifyUnindexed(
  { target, catalogue }: Pick<Repository, 'target' | 'catalogue'>,
  note: (object: string, message: string) => void,
  options: { signal: AbortSignal | undefined; wants: (sha256: string) => boolean },
): Promise<{ packs: number; bytesRead: number }> {
  const found = await listPacks(target);
  for (const pack of catalogue.packs()) found.delete(pack.id);
  let packs = 0;
  let bytesRead = 0;
  for (const [id, sizeBytes] of found) {
    if (!options.wants(id)) continue;
    const sha256 = await hashOf(target, { name: packName(id), sizeBytes }, options.signal);
    // Somebody has removed it since it was listed.
    if (sha256 === undefined) continue;
    packs += 1;
    bytesRead += sizeBytes;
    if (sha256 !== id) note(packName(id), 'Its bytes are not what its name says; no index names it yet.');
  }
  return { packs, bytesRead };
}

async function hashOf(
  target: Target,
  { name, sizeBytes }: { name: string; sizeBytes: number },
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const hash = createHash('sha256');
  try {
    for (let offset = 0; offset < sizeBytes; offset += STEP_BYTES) {
      if (signal?.aborted === true) throw new HoldfastError('cancelled', 'The check was stopped');
      hash.update(await target.read(name, { offset, length: Math.min(STEP_BYTES, sizeBytes - offset) }));
    }
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'not_found') return undefined;
    if (error instanceof HoldfastError && error.code === 'integrity_failure') return 'unreadable';
    throw error;
  }
  return hash.digest('hex');
}
