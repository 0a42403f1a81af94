/** A second target of a stocked appliance, in a folder of its own, and what of a snapshot lies there. */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import {
  copyWhenDue,
  openChunkReader,
  openRepository,
  verifyRepository,
} from '../../server/backups/index.ts';
import { numberedName, packName } from '../../server/backups/objects/object-names.ts';
import type { Run } from '../../server/lib/run-schema.ts';
import type { CopyRule, Snapshot, TargetReply } from '../../server/backups/schema.ts';
import type { Static } from 'typebox';
import { expectStatus, type TestKit } from './appliance.ts';
import type { StockedAppliance } from './stocked-appliance.ts';

export interface SecondTarget {
  id: string;
  path: string;
  /** Takes its disk away, and puts it back. */
  away(): Promise<void>;
  back(): Promise<void>;
}

export async function addSecondTarget(
  appliance: StockedAppliance,
  name: string,
  request: object = {},
): Promise<SecondTarget> {
  const path = join(dirname(appliance.targetPath), name);
  await mkdir(path, { recursive: true });
  const { id } = await expectStatus(
    appliance.owner.call<{ id: string }>('POST', '/targets', {
      ...{ name, kind: 'directory', path, region: 'eu-north' },
      ...request,
    }),
    201,
  );
  return { id, path, ...diskOf(path) };
}

export function diskOf(path: string): Pick<SecondTarget, 'away' | 'back'> {
  return {
    away: () => rename(path, `${path}-away`),
    async back() {
      await rm(path, { recursive: true, force: true });
      await rename(`${path}-away`, path);
    },
  };
}

export async function showTarget(appliance: StockedAppliance, id: string): Promise<TargetReply> {
  return expectStatus(appliance.owner.call<TargetReply>('GET', `/targets/${id}`), 200);
}

export async function showSnapshot(appliance: StockedAppliance, id: string): Promise<Snapshot> {
  return expectStatus(appliance.owner.call<Snapshot>('GET', `/snapshots/${id}`), 200);
}

/** Ids of the targets in use that have it, in their order. */
export async function holdersOf(appliance: StockedAppliance, snapshotId: string): Promise<string[]> {
  const { targets } = await showSnapshot(appliance, snapshotId);
  return targets.filter((one) => one.state === 'stored' && one.inUse).map((one) => one.id);
}

export function setRule(
  appliance: StockedAppliance,
  needed: number | null,
): Promise<Static<typeof CopyRule>> {
  return expectStatus(appliance.owner.call<Static<typeof CopyRule>>('PUT', '/copy-rule', { needed }), 200);
}

/** However it ends. */
export async function trySnapshot(appliance: StockedAppliance) {
  await expectStatus(appliance.owner.call('POST', '/snapshots'), 202);
  return appliance.performRun();
}

/** Where the process of a copy dies. */
export const COPY_DEATHS = [
  'backups.copy.keyring-published',
  'backups.copy.pack.written',
  'backups.copy.pack.verified',
  'backups.copy.packs-indexed',
  'backups.copy.snapshot-published',
  'backups.copy.head-published',
  'backups.copy.recorded',
] as const;

/** As the chore does. @returns undefined when nothing is due. */
export async function catchUp(appliance: StockedAppliance) {
  return (await queueDueCopy(appliance)) ? appliance.performRun() : undefined;
}

/** @returns whether a copy waits for its turn now. */
export async function queueDueCopy(appliance: StockedAppliance): Promise<boolean> {
  await copyWhenDue(appliance.deps);
  const open = await appliance.deps.db
    .selectFrom('runs')
    .select('id')
    .where('kind', '=', 'copy')
    .where('state', '=', 'queued')
    .executeTakeFirst();
  return open !== undefined;
}

export async function requestCopy(appliance: StockedAppliance, id: string): Promise<Run> {
  return expectStatus(appliance.owner.call<Run>('POST', `/targets/${id}/copy`), 202);
}

/** Names of objects below a folder of a target. */
export async function objectsIn(path: string, kind: string): Promise<string[]> {
  const entries = await readdir(join(path, kind), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name)
    .sort();
}

/** Names of all objects on a directory target. */
export async function objectsBelow(path: string): Promise<string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(path, join(entry.parentPath, entry.name)));
}

/** Opened with nothing but the kit, as after a fire; every byte is read. @returns numbers of the snapshots there. */
export async function verifyByKit(appliance: StockedAppliance, path: string): Promise<number[]> {
  return withKit(appliance.kit, path, async (repository) => {
    const report = await verifyRepository(repository, { everyByte: true });
    if (!report.ok) throw new Error(JSON.stringify(report.problems));
    return repository.snapshotReferences.map((one) => one.number);
  });
}

/** What the newest head there names, by itself or through an index: objects that somebody needs. */
export async function namesOn(appliance: StockedAppliance, path: string): Promise<Set<string>> {
  return withKit(appliance.kit, path, (repository) =>
    Promise.resolve(
      new Set([
        ...repository.snapshotReferences.map((one) => numberedName('snapshots', one)),
        ...repository.keyringObjects(),
        ...[...repository.catalogue.packs()].map(({ id }) => packName(id)),
      ]),
    ),
  );
}

/** The files of a snapshot as they were stored, restored with the kit into a folder. */
export async function restoreByKit(
  appliance: StockedAppliance,
  from: { path: string; snapshotId: string; to: string },
): Promise<void> {
  await withKit(appliance.kit, from.path, async (repository) => {
    const snapshot = await repository.findSnapshot(from.snapshotId);
    const files = snapshot.sections.find((section) => section.name === 'files');
    if (files === undefined) throw new Error('the snapshot has no files');
    const { target, keys, catalogue } = repository;
    const reader = await openChunkReader({ target: target.config, generations: keys.generations, catalogue });
    try {
      const report = await reader.restoreSection(files, from.to, {
        signal: new AbortController().signal,
        clock: appliance.clock,
      });
      if (report.problemCount > 0) throw new Error(JSON.stringify(report.problems));
    } finally {
      await reader.close();
    }
  });
}

let opened = 0;

/** A repository as somebody opens it who has a kit and nothing else. */
export async function withKit<T>(
  kit: Pick<TestKit, 'identity' | 'repositoryId' | 'trustRoot'>,
  path: string,
  act: (repository: Awaited<ReturnType<typeof openRepository>>) => Promise<T>,
): Promise<T> {
  const cataloguePath = join(dirname(path), `kit-${String((opened += 1))}.sqlite`);
  const repository = await openRepository({
    target: { kind: 'directory', path },
    keys: {
      identity: kit.identity,
      repositoryId: kit.repositoryId,
      trustRoot: Buffer.from(kit.trustRoot, 'base64'),
    },
    cataloguePath,
  });
  try {
    return await act(repository);
  } finally {
    await repository.close();
    await rm(cataloguePath, { force: true });
  }
}
