/** The checkpoints that lie on a target as anchors, for whoever verifies the audit log. */
import type { KeptHead } from '../audit/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { Target } from './engine.ts';
import { readRecord, readText } from './objects/object-fields.ts';
import { anchorName, parseAnchorName } from './objects/object-names.ts';
import { readObject } from './repository/object-store.ts';

export interface KeptHeads {
  heads: KeptHead[];
  /** Names of anchors that are damaged. */
  unreadable: string[];
}

/**
 * Reads every anchor. Whether a checkpoint in one is to be believed shows by its own signature, and the certificate beside it: the
 * verifier checks both.
 */
export async function readKeptHeads(target: Target, source: string): Promise<KeptHeads> {
  const heads: KeptHead[] = [];
  const unreadable: string[] = [];
  for await (const { name } of target.list('anchors/')) {
    const reference = parseAnchorName(name);
    if (reference === undefined) continue;
    try {
      const object = await readObject(target, 'anchors', anchorName(reference), reference.sha256);
      heads.push({ ...readAnchorLine(object), source: `${source}, ${name.slice(0, 32)}…` });
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code === 'unavailable') throw error;
      unreadable.push(name);
    }
  }
  return { heads, unreadable };
}

function readAnchorLine(object: Buffer): { note: string; certificate: string } {
  for (const line of object.toString('utf8').split('\n')) {
    if (!line.startsWith('{"anchor":')) continue;
    const anchor = readRecord(readRecord(JSON.parse(line)).anchor);
    return { note: readText(anchor, 'checkpoint'), certificate: readText(anchor, 'certificate') };
  }
  throw new HoldfastError('integrity_failure', 'An anchor is empty');
}
