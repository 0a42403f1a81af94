/**
 * Small JSON documents below /state. Guarantees: after a write returns, a power cut leaves the new content; before, the old
 * one. A file that cannot be read is an error that names it, never taken for an empty one.
 */
import { join } from 'node:path';
import type { Static, TSchema } from 'typebox';
import { Value } from 'typebox/value';
import { HoldfastError } from '../../lib/errors.ts';
import { makePrivateDirectory, readFileIfPresent, writeFileDurably } from '../../lib/files.ts';
import { lockProcess } from '../../lib/process-lock.ts';

/** Nothing that we keep there comes near it. */
const LIMIT_BYTES = 1024 * 1024;

/**
 * @returns undefined when there is no such file.
 * @throws HoldfastError `integrity_failure` when it is not what the schema says.
 */
export async function readStateFile<T extends TSchema>(
  path: string,
  schema: T,
): Promise<Static<T> | undefined> {
  const content = await readFileIfPresent(path);
  if (content === undefined) return undefined;
  if (content.length <= LIMIT_BYTES) {
    try {
      const value: unknown = JSON.parse(content.toString('utf8'));
      if (Value.Check(schema, value)) return value;
    } catch {
      // Said below.
    }
  }
  throw new HoldfastError('integrity_failure', `${path} cannot be read`, {
    hint: 'It is damaged or was written by a newer Holdfast. Nothing was changed.',
  });
}

/** @param step names the durable steps for crash tests. */
export async function writeStateFile(
  path: string,
  value: unknown,
  options: { step: string; mode?: number },
): Promise<void> {
  await makePrivateDirectory(join(path, '..'), 0o755);
  await writeFileDurably(path, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600, ...options });
}

const LOCK_WAIT_MS = 5_000;
const LOCK_STEP_MS = 20;

/**
 * Runs `act` while no other process that asks for the same lock does: hostd, the unlocking and the update may write the same
 * files. The kernel lets go of it when a process ends.
 *
 * @throws HoldfastError `locked` when another holds it for longer than `mostWaitMs`.
 */
export async function withStateLock<T>(
  path: string,
  act: () => Promise<T>,
  mostWaitMs = LOCK_WAIT_MS,
): Promise<T> {
  await makePrivateDirectory(join(path, '..'), 0o755);
  for (let waitedMs = 0; ; waitedMs += LOCK_STEP_MS) {
    let lock;
    try {
      lock = lockProcess(path, 'work on the state of this machine');
    } catch (error) {
      const taken = error instanceof HoldfastError && error.code === 'locked';
      if (!taken || waitedMs >= mostWaitMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, LOCK_STEP_MS));
      continue;
    }
    try {
      return await act();
    } finally {
      lock.release();
    }
  }
}
