/**
 * `HOLDFAST`, the public hint at the top of a repository: for people who find the disk in a drawer. Nothing in it is
 * trusted and its loss stops nothing.
 */
import { HoldfastError } from '../lib/errors.ts';
import type { Target } from './engine.ts';
import { HINT_NAME } from './targets/object-name.ts';

const MAX_HINT_BYTES = 16 * 1024;

export interface RepositoryHint {
  repository: string;
  format: number;
}

/** The content of the hint. */
export function hintBytes(repositoryId: string, createdAt: Date): Buffer {
  const hint = {
    kind: 'holdfast-repository',
    format: 1,
    repository: repositoryId,
    createdAt: createdAt.toISOString(),
    note: [
      'This folder is a backup repository of a Holdfast appliance. Do not change or remove anything in it.',
      'To restore: holdfast recover --from THIS-FOLDER --kit RECOVERY-KIT --data NEW-FOLDER',
      'Without Holdfast: age, zstd and the script kit-restore.py, with the recovery kit.',
      'This file is a hint for people. No program believes what it says.',
    ],
  };
  return Buffer.from(`${JSON.stringify(hint, null, 2)}\n`);
}

/** @returns undefined when there is none, or nothing sensible in it. */
export async function readHint(target: Target): Promise<RepositoryHint | undefined> {
  const found = await target.find(HINT_NAME);
  if (found === undefined || found.sizeBytes > MAX_HINT_BYTES) return undefined;
  try {
    const hint: unknown = JSON.parse((await target.read(HINT_NAME)).toString('utf8'));
    if (typeof hint !== 'object' || hint === null || !('repository' in hint)) return undefined;
    const format = 'format' in hint ? Number(hint.format) : 0;
    return typeof hint.repository === 'string' ? { repository: hint.repository, format } : undefined;
  } catch (error) {
    if (error instanceof HoldfastError && error.code !== 'integrity_failure') throw error;
    return undefined;
  }
}
