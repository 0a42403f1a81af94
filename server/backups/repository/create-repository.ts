/** Makes a new repository in an empty place. */
import type { Clock } from '../../lib/clock.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { RepositoryWriteKeys, TargetConfig } from '../engine.ts';
import { hintBytes, readHint } from '../hint.ts';
import { sha256Of } from '../objects/object-names.ts';
import { HINT_NAME } from '../targets/object-name.ts';
import { openTarget } from '../targets/open-target.ts';
import { isIgnored } from '../targets/probe.ts';
import { listNames } from './listing.ts';
import { publish } from './object-store.ts';
import { openRepository } from './open-repository.ts';
import { openWriter } from './writer.ts';

export interface CreateRepositoryOptions {
  target: TargetConfig;
  keys: RepositoryWriteKeys;
  /** Generation 1, as `buildKeysObject` made it. */
  keysObject: { name: string; bytes: Uint8Array };
  cataloguePath: string;
  /** Id of this appliance. */
  holder: string;
  clock: Clock;
}

/**
 * Writes the hint, the keys object and head 1. Doing it again after it was cut off finishes it.
 *
 * @throws conflict when the place holds something else; unavailable, no_space.
 */
export async function createRepository(options: CreateRepositoryOptions): Promise<void> {
  const target = await openTarget(options.target);
  try {
    await checkEmptyOrOurs(options);
    if ((await target.find(HINT_NAME)) === undefined) {
      const hint = hintBytes(options.keys.repositoryId, options.clock.now());
      await publish(target, HINT_NAME, hint, 'backups.hint');
    }
    const { name, bytes } = options.keysObject;
    if (!name.endsWith(`-${sha256Of(bytes)}.age`)) {
      throw new HoldfastError('internal', 'A keys object has a name that does not fit its content');
    }
    await publish(target, name, bytes, 'backups.keys');
    const repository = await openRepository({
      target,
      keys: options.keys,
      cataloguePath: options.cataloguePath,
    });
    try {
      if (repository.head !== undefined) return;
      const writer = await openWriter(repository, options);
      await writer.publishHead();
      await writer.release();
    } finally {
      await repository.close();
    }
  } finally {
    await target.close();
  }
}

/** Only what an earlier, interrupted call for the same repository left may be there. */
async function checkEmptyOrOurs(options: CreateRepositoryOptions): Promise<void> {
  const target = await openTarget(options.target);
  const hint = await readHint(target);
  const keys = await listNames(target, 'keys/');
  const entries = (await target.topEntries()).filter((name) => !isIgnored(name));
  await target.close();
  // Other keys objects under our own hint are those of kits that were made or retired since; the heads tell whose they are.
  const ours = hint?.repository === options.keys.repositoryId;
  const foreignKeys = !ours && keys.some((name) => name !== options.keysObject.name);
  if (foreignKeys || (hint !== undefined && !ours)) {
    throw new HoldfastError('conflict', 'There is another backup repository in this folder', {
      hint: 'Choose an empty folder, or recover the appliance that wrote it with its kit.',
    });
  }
  if (hint !== undefined || keys.length > 0) return;
  if (entries.length > 0) {
    throw new HoldfastError('conflict', 'The folder is not empty', {
      hint: 'Choose an empty folder for the backup repository.',
      detail: entries.slice(0, 10).join(', '),
    });
  }
}
