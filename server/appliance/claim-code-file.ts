/**
 * The claim code for the console of a machine image. The machine makes the file at each start, in memory, for the server to write
 * and root to read; the code is in no journal and on no disk.
 */
import { open } from 'node:fs/promises';
import type { Config } from '../lib/config.ts';

/** Writes the code and when it ends, one a line; nothing when there is an owner. Elsewhere than on an image it does nothing. */
export async function showClaimCode(
  config: Pick<Config, 'claimCodeFile'>,
  renewed: { code: string; expiresAt: string } | undefined,
): Promise<void> {
  if (config.claimCodeFile === undefined) return;
  // In place: the folder around it is not ours. Readers take the code only with its second line.
  const file = await open(config.claimCodeFile, 'r+');
  try {
    await file.truncate();
    if (renewed !== undefined) await file.write(`${renewed.code}\n${renewed.expiresAt}\n`, 0);
  } finally {
    await file.close();
  }
}
