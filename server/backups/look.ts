/**
 * What lies in a folder that somebody says holds backups: found without a key, opened with a recovery kit. Changes nothing there.
 * Believed is only what the trust root in the kit vouches for; without a kit nothing is.
 */
import { listMigrations } from '../lib/migrate.ts';
import type { RecoveryKit } from '../keys/index.ts';
import type { SnapshotRecord, TargetConfig } from './engine.ts';
import { whyExpired } from './expired-parts.ts';
import { readHint } from './hint.ts';
import { numberedName, type ObjectReference } from './objects/object-names.ts';
import { noRepository } from './repository/open-keys.ts';
import { openRepository } from './repository/open-repository.ts';
import { fitOf, RECOVERED_PARTS } from './schema-fit.ts';
import { listNumbered } from './repository/listing.ts';
import { openTarget } from './targets/open-target.ts';

/** A kit opens one of the newest. */
const MOST_KEYS_OBJECTS = 8;
const MOST_KEYS_BYTES = 64 * 1024;
const MOST_SNAPSHOTS = 500;

/** As the target shows it. None of it is believed: a page tries a kit on it before the kit is sent anywhere. */
export interface FoundRepository {
  /** What the public hint says. */
  repositoryId: string | null;
  /** Base64 of the keys objects, newest first. */
  keysObjects: string[];
}

/** As the kit opens it. */
export interface OpenedRepository {
  /** Those that can be read, newest first, at most 500. */
  snapshots: {
    id: string;
    number: number;
    takenAt: string;
    fileCount: number;
    sizeBytes: number;
    /** Of it, what a recovery writes: database and files. */
    dataBytes: number;
    /** Whether this version starts on it, in plain words. */
    starts: boolean;
    fit: string;
  }[];
  /** What a person must know; those with `confirm` must be agreed to before anything is recovered. */
  warnings: { message: string; confirm: boolean }[];
}

/** @throws HoldfastError `unavailable` when the folder cannot be read, `no_repository` when there is none in it. */
export async function findRepository(config: TargetConfig): Promise<FoundRepository> {
  const target = await openTarget(config);
  try {
    const listed = (await listNumbered(target, 'keys')).reverse();
    if (listed.length === 0) throw noRepository();
    const keysObjects: string[] = [];
    for (const reference of listed.slice(0, MOST_KEYS_OBJECTS)) {
      const name = numberedName('keys', reference);
      const found = await target.find(name);
      if (found === undefined || found.sizeBytes > MOST_KEYS_BYTES) continue;
      keysObjects.push((await target.read(name)).toString('base64'));
    }
    return { repositoryId: (await readHint(target))?.repository ?? null, keysObjects };
  } finally {
    await target.close();
  }
}

/**
 * @param cataloguePath a file that is made, and thrown away afterwards.
 * @param knownHead the newest head that the appliance remembers, where it does: an older one is then warned of.
 * @throws HoldfastError as `openRepository` does: `wrong_key` for a kit of another repository.
 */
export async function openFoundRepository(
  target: TargetConfig,
  kit: Pick<RecoveryKit, 'repositoryId' | 'trustRoot' | 'ageIdentity'>,
  cataloguePath: string,
  knownHead?: ObjectReference,
): Promise<OpenedRepository> {
  const repository = await openRepository({
    target,
    keys: {
      identity: kit.ageIdentity,
      repositoryId: kit.repositoryId,
      trustRoot: Buffer.from(kit.trustRoot, 'base64'),
    },
    cataloguePath,
    ...(knownHead === undefined ? {} : { knownHead }),
  });
  try {
    const { snapshots, problems } = await repository.snapshots();
    const known = await listMigrations();
    return {
      snapshots: snapshots
        .reverse()
        .slice(0, MOST_SNAPSHOTS)
        .map((snapshot) => describe(snapshot, known)),
      warnings: [...repository.warnings, ...problems].map(({ message, confirm }) => ({ message, confirm })),
    };
  } finally {
    await repository.close();
  }
}

function describe(snapshot: SnapshotRecord, known: readonly string[]): OpenedRepository['snapshots'][number] {
  const { id, number, takenAt, sections } = snapshot;
  const fit = fitOf(snapshot, known);
  const gone = RECOVERED_PARTS.map((name) => whyExpired(snapshot, name)?.message).find(
    (why) => why !== undefined,
  );
  return {
    ...{ id, number, takenAt },
    fileCount: sections.find(({ name }) => name === 'files')?.fileCount ?? 0,
    sizeBytes: sumBytes(sections),
    dataBytes: sumBytes(sections.filter(({ name }) => RECOVERED_PARTS.includes(name))),
    starts: gone === undefined && fit?.starts === true,
    fit: gone ?? fit?.words ?? 'It is not of a whole appliance',
  };
}

function sumBytes(sections: readonly { sizeBytes: number }[]): number {
  return sections.reduce((sum, section) => sum + section.sizeBytes, 0);
}
