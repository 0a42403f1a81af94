/**
 * Kits made by `holdfast setup`, sealed to the operator's age key, waiting for the owner to fetch them: a machine without a shell
 * gives nobody a file. Guarantees: what lies here opens nothing without the operator's key, is in no snapshot, and is
 * on the disk before its kit is proven; copies of kits that were never proven go with the next one.
 */
import { readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { recordAudit, type Actor } from '../audit/index.ts';
import type { Config } from '../lib/config.ts';
import { dataPaths } from '../lib/data-folder.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError, isSystemError } from '../lib/errors.ts';
import { makePrivateDirectory, readFileIfPresent, writeFileDurably } from '../lib/files.ts';
import type { KitDeps } from './recovery-kits.ts';

export type SealedKitDeps = Pick<KitDeps, 'db' | 'clock' | 'keys'> & { config: Pick<Config, 'dataDir'> };

/** First line of every age file. @see https://age-encryption.org/v1 */
const AGE_HEADER = 'age-encryption.org/v1\n';
const SUFFIX = '.age';

/** @throws HoldfastError `invalid_input` for what is no age file. */
export async function keepSealedKit(
  deps: SealedKitDeps,
  kitId: string,
  sealed: Buffer,
  actor: Actor,
): Promise<void> {
  if (!sealed.subarray(0, AGE_HEADER.length).equals(Buffer.from(AGE_HEADER))) {
    throw new HoldfastError('invalid_input', 'This is no file that age encrypted', {
      hint: 'The kit is sealed to the key of the operator before it comes here.',
    });
  }
  const folder = folderOf(deps);
  await makePrivateDirectory(folder);
  const { repository } = await deps.keys.status();
  const proven = new Set(repository.kits.map((kit) => kit.id));
  for (const other of await listSealedKits(deps)) {
    if (!proven.has(other)) await rm(pathOf(deps, other), { force: true });
  }
  await writeFileDurably(pathOf(deps, kitId), sealed, { step: 'sealed-kit' });
  await tell(deps, actor, 'kept', kitId);
}

/** Ids of the kits that wait here, proven or not. */
export async function listSealedKits(deps: Pick<SealedKitDeps, 'config'>): Promise<string[]> {
  const names = await readdir(folderOf(deps)).catch((error: unknown): string[] => {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  });
  return names.filter((name) => name.endsWith(SUFFIX)).map((name) => basename(name, SUFFIX));
}

/** @throws HoldfastError `not_found` */
export async function fetchSealedKit(deps: SealedKitDeps, kitId: string, actor: Actor): Promise<Buffer> {
  const sealed = await readFileIfPresent(pathOf(deps, kitId));
  if (sealed === undefined) throw noSuchCopy();
  await tell(deps, actor, 'fetched', kitId);
  return sealed;
}

/** @throws HoldfastError `not_found` */
export async function removeSealedKit(deps: SealedKitDeps, kitId: string, actor: Actor): Promise<void> {
  if (!(await listSealedKits(deps)).includes(kitId)) throw noSuchCopy();
  await tell(deps, actor, 'removed', kitId);
  await rm(pathOf(deps, kitId), { force: true });
}

function noSuchCopy(): HoldfastError {
  return new HoldfastError('not_found', 'No sealed copy of this kit waits here', {
    hint: 'It was removed, or the kit was made in a browser, which saved it where you are.',
  });
}

function folderOf({ config }: Pick<SealedKitDeps, 'config'>): string {
  return dataPaths(config.dataDir).kits;
}

/** @param kitId a UUID, as the routes check. */
function pathOf(deps: Pick<SealedKitDeps, 'config'>, kitId: string): string {
  return join(folderOf(deps), `${kitId}${SUFFIX}`);
}

async function tell(deps: SealedKitDeps, actor: Actor, verb: string, kitId: string): Promise<void> {
  const action = `appliance.recovery-kit.copy-${verb}`;
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, actor, { action, objectType: 'recovery-kit', objectId: kitId }),
  );
}
