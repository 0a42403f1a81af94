import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createRepository } from '../../server/backups/repository/create-repository.ts';
import { openRepository } from '../../server/backups/repository/open-repository.ts';
import { createLocalRepositoryKeys } from '../../server/keys/index.ts';
import {
  bytesOf,
  createPlace,
  HOLDER,
  listObjects,
  openPlace,
  openPlaceWriter,
  type Place,
  readFiles,
  storeFiles,
  takeSnapshot,
  withWriter,
} from './repository-place.ts';

vi.setConfig({ testTimeout: 60_000 });

let place: Place;
beforeEach(async () => {
  place = await createPlace();
});
afterEach(async () => {
  await place.dispose();
});

const FILES = { 'a.txt': Buffer.from('hello'), 'b/c.bin': bytesOf('c', 20_000), empty: Buffer.alloc(0) };

describe('a new repository', () => {
  const create = (path: string, local = place.local) =>
    createRepository({
      target: { kind: 'directory', path },
      keys: local.writeKeys,
      keysObject: local.keysObject,
      cataloguePath: join(place.top, 'other.sqlite'),
      holder: HOLDER,
      clock: place.clock,
    });

  test('is not made in a folder with something else in it', async () => {
    await expect(create(place.top)).rejects.toMatchObject({ code: 'conflict' });
    expect(await readdir(place.top)).not.toContain('HOLDFAST');
  });

  test('is not made over another one', async () => {
    await expect(create(place.path, await createLocalRepositoryKeys())).rejects.toMatchObject({
      code: 'conflict',
      hint: expect.any(String) as string,
    });
  });

  test('is not made in a folder that does not exist', async () => {
    await expect(create(join(place.top, 'missing'))).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('starts with the hint, the keys and head 1; making it again changes nothing', async () => {
    const before = (await readdir(place.path, { recursive: true })).sort();

    await create(place.path);

    expect((await readdir(place.path, { recursive: true })).sort()).toEqual(before);
    const repository = await openPlace(place);
    expect(repository.head).toMatchObject({ number: 1, previous: null, snapshots: [], indexes: [] });
    expect(repository.warnings).toEqual([]);
    await repository.close();
  });
});

describe('opening', () => {
  const open = (keys: Parameters<typeof openRepository>[0]['keys'], path = place.path) =>
    openRepository({
      target: { kind: 'directory', path },
      keys,
      cataloguePath: join(place.top, 'x.sqlite'),
    });

  test('an empty folder is no repository, for a kit and for the own keys', async () => {
    const empty = join(place.top, 'target', 'empty');
    await rm(place.path, { recursive: true });
    await import('node:fs/promises').then((fs) => fs.mkdir(empty, { recursive: true }));
    const { kit, trustRoot, statement } = place.local;

    await expect(open(place.local.writeKeys, empty)).rejects.toMatchObject({ code: 'no_repository' });
    await expect(
      open(
        {
          identity: kit.identity,
          repositoryId: statement.repositoryId,
          trustRoot: trustRoot.publicKey,
        },
        empty,
      ),
    ).rejects.toMatchObject({ code: 'no_repository', hint: expect.stringContaining('mounted') as string });
    expect(await readdir(empty)).toEqual([]);
  });

  test('with the kit of another appliance is refused', async () => {
    const other = await createLocalRepositoryKeys();

    await expect(
      open({
        identity: other.kit.identity,
        repositoryId: other.statement.repositoryId,
        trustRoot: other.trustRoot.publicKey,
      }),
    ).rejects.toMatchObject({ code: 'wrong_key', hint: expect.stringContaining('kit') as string });
  });

  test('with the right identity and another trust root is refused', async () => {
    const other = await createLocalRepositoryKeys();

    await expect(
      open({
        identity: place.local.kit.identity,
        repositoryId: place.local.statement.repositoryId,
        trustRoot: other.trustRoot.publicKey,
      }),
    ).rejects.toMatchObject({ code: 'integrity_failure' });
  });

  test('another repository with the own keys is refused', async () => {
    const other = await createLocalRepositoryKeys();

    await expect(open(other.writeKeys)).rejects.toMatchObject({ code: 'wrong_key' });
  });

  test('with the kit alone everything is there', async () => {
    const snapshot = await takeSnapshot(place, FILES);

    const repository = await openPlace(place, { kit: true, catalogue: join(place.top, 'fresh.sqlite') });

    expect(repository.warnings).toEqual([]);
    expect((await repository.snapshots()).snapshots).toEqual([snapshot]);
    expect(await readFiles(repository, 'latest')).toEqual(FILES);
    expect(repository.keysObject).toMatch(/^[0-9a-f]{64}$/);
    await repository.close();
  });

  test('a snapshot is found by id, start of id, number and as the latest', async () => {
    const first = await takeSnapshot(place, FILES);
    const second = await takeSnapshot(place, { ...FILES, more: bytesOf('more', 10) });
    const repository = await openPlace(place);

    expect((await repository.findSnapshot(first.id)).number).toBe(1);
    expect((await repository.findSnapshot(first.id.slice(0, 8))).number).toBe(1);
    expect((await repository.findSnapshot('2')).id).toBe(second.id);
    expect((await repository.findSnapshot('latest')).id).toBe(second.id);
    for (const wanted of ['3', 'f', '', '0'.repeat(64)]) {
      await expect(repository.findSnapshot(wanted)).rejects.toMatchObject({ code: 'not_found' });
    }
    await repository.close();
  });
});

describe('one writer', () => {
  test('of another appliance keeps ours out, until a person says that it is off', async () => {
    await withWriter(place, async () => undefined, { holder: 'appliance-2', takeOver: true });
    const repository = await openPlace(place);
    const before = await listObjects(repository);

    await expect(openPlaceWriter(place, repository)).rejects.toMatchObject({ code: 'locked' });
    expect(await listObjects(repository)).toEqual(before);

    const writer = await openPlaceWriter(place, repository, { takeOver: true });
    expect(await listObjects(repository, 'writers/')).toEqual([`writers/${String(writer.number)}`]);
    await repository.close();
  });

  test('stops as soon as a later one has come, and nothing of it counts', async () => {
    const repository = await openPlace(place);
    const first = await openPlaceWriter(place, repository);
    const draft = await storeFiles(repository, first, place.local.writeKeys, FILES, place.clock);
    const second = await openPlace(place, { catalogue: join(place.top, 'second.sqlite') });
    await openPlaceWriter(place, second);
    const before = await listObjects(repository, 'snapshots/');

    for (const attempt of [
      () => first.publishSnapshot(draft),
      () => first.publishHead(),
      () => first.flush(),
      () => first.forget([]),
      () => first.prune(),
    ]) {
      await expect(attempt()).rejects.toMatchObject({ code: 'locked' });
    }
    expect(await listObjects(repository, 'snapshots/')).toEqual(before);
    await repository.close();
    await second.close();
  });

  test('is not kept out by a claim that nobody signed', async () => {
    await writeFile(join(place.path, 'writers/77'), '{"type":"writer"}\n{"writer":{"holder":"evil"}}\n');

    const number = await withWriter(place, async (writer) => writer.number);

    expect(number).toBeLessThan(77);
  });

  test('that was released publishes nothing more', async () => {
    const repository = await openPlace(place);
    const writer = await openPlaceWriter(place, repository);
    await writer.release();

    await expect(writer.publishHead()).rejects.toMatchObject({ code: 'wrong_state' });
    await repository.close();
  });
});

describe('publishing', () => {
  test('refuses a snapshot whose keyring is not there yet', async () => {
    await withWriter(place, async (writer, repository) => {
      const draft = await storeFiles(repository, writer, place.local.writeKeys, FILES, place.clock);

      await expect(writer.publishSnapshot({ ...draft, keyringEpoch: '1' })).rejects.toMatchObject({
        code: 'wrong_state',
      });
      expect(await listObjects(repository, 'snapshots/')).toEqual([]);
    });
  });

  test('refuses a snapshot whose file lists are not stored', async () => {
    await withWriter(place, async (writer, repository) => {
      const draft = await storeFiles(repository, writer, place.local.writeKeys, FILES, place.clock);
      const [section] = draft.sections;
      if (section === undefined) throw new Error('no section');
      const segments = section.segments.map((segment) => ({ ...segment, chunk: '0'.repeat(64) }));

      await expect(
        writer.publishSnapshot({ ...draft, sections: [{ ...section, segments }] }),
      ).rejects.toMatchObject({ code: 'integrity_failure' });
    });
  });

  test('a keyring base replaces what was before, additions come on top, older ones are refused', async () => {
    const { createHash } = await import('node:crypto');
    const object = (stem: string) => {
      const bytes = bytesOf(stem, 100);
      return { name: `keyring/${stem}-${createHash('sha256').update(bytes).digest('hex')}.age`, bytes };
    };
    await withWriter(place, async (writer, repository) => {
      const [five, addition, six] = [object('5'), object('5+1'), object('6')];
      await writer.publishKeyring(five.name, five.bytes);
      await writer.publishKeyring(addition.name, addition.bytes);
      await expect(writer.publishKeyring(object('4').name, object('4').bytes)).rejects.toMatchObject({
        code: 'wrong_state',
      });
      await expect(writer.publishKeyring(five.name, six.bytes)).rejects.toMatchObject({ code: 'internal' });
      const { head } = await writer.publishHead();
      expect(head.keyring).toEqual({ epoch: '5', objects: [five.name, addition.name] });

      await writer.publishKeyring(six.name, six.bytes);
      const next = await writer.publishHead();
      expect(next.head.keyring).toEqual({ epoch: '6', objects: [six.name] });
      expect((await listObjects(repository, 'keyring/')).length).toBe(3);
    });
  });

  test('each head names the one before, and what was stored before is not stored again', async () => {
    await takeSnapshot(place, FILES);
    const repository = await openPlace(place);
    const packs = await listObjects(repository, 'packs/');
    const first = repository.headReference;
    await repository.close();

    await takeSnapshot(place, FILES);

    const again = await openPlace(place);
    expect(again.head?.previous).toEqual(first);
    expect(again.head?.snapshots.map((one) => one.number)).toEqual([1, 2]);
    expect(await listObjects(again, 'packs/')).toEqual(packs);
    await again.close();
  });

  test('a report is kept encrypted and is found again', async () => {
    const report = {
      id: '7e57ab1e-0000-4000-8000-000000000001',
      kind: 'restore-test',
      createdAt: '2026-01-01T00:00:00Z',
      content: { ok: true },
    };
    const name = await withWriter(place, (writer) => writer.publishReport(report));

    const repository = await openPlace(place, { kit: true });
    const found = [];
    for await (const one of repository.reports()) found.push(one);
    expect(found).toEqual([{ ...report, head: 1 }]);
    expect((await readFile(join(place.path, name))).includes('restore-test')).toBe(false);
    await repository.close();
  });
});

describe('the catalogue', () => {
  test.each(['deleted', 'overwritten with garbage', 'of another repository'])(
    'that was %s is rebuilt from the repository alone',
    async (what) => {
      await takeSnapshot(place, FILES);
      if (what === 'deleted') await rm(place.cataloguePath);
      else if (what === 'overwritten with garbage')
        await writeFile(place.cataloguePath, bytesOf('x', 50_000));
      else {
        const other = await createPlace();
        await (await openPlace(other, { catalogue: place.cataloguePath })).close();
        await other.dispose();
      }

      const repository = await openPlace(place);

      expect(repository.warnings).toEqual([]);
      expect(await readFiles(repository, 'latest')).toEqual(FILES);
      expect(repository.catalogue.count()).toBe([...repository.catalogue.ids()].length);
      await repository.close();
    },
  );

  test('that fell behind catches up', async () => {
    const behind = join(place.top, 'behind.sqlite');
    await (await openPlace(place, { catalogue: behind })).close();
    await takeSnapshot(place, FILES);

    const repository = await openPlace(place, { catalogue: behind });

    expect(await readFiles(repository, 'latest')).toEqual(FILES);
    await repository.close();
  });

  test('that a write-only appliance lost makes the next snapshot a full one, and stops prune until the kit came', async () => {
    await takeSnapshot(place, FILES, { writeOnly: true });
    await rm(place.cataloguePath);

    const lost = await openPlace(place, { writeOnly: true });
    expect(lost.warnings.map((one) => one.code)).toEqual(['unread_index']);
    expect(lost.catalogue.count()).toBe(0);
    await lost.close();
    const second = await takeSnapshot(place, FILES, { writeOnly: true });
    await expect(withWriter(place, (writer) => writer.prune(), { writeOnly: true })).rejects.toMatchObject({
      code: 'needs_kit',
      hint: expect.stringContaining('kit') as string,
    });

    const repository = await openPlace(place, { kit: true });
    expect((await repository.snapshots()).snapshots).toHaveLength(2);
    expect(await readFiles(repository, '1')).toEqual(FILES);
    expect(await readFiles(repository, second.id)).toEqual(FILES);
    await repository.close();
    await withWriter(place, (writer) => writer.prune(), { writeOnly: true });
  });

  test('knows the packs that are missing, and the next snapshot stores their chunks again', async () => {
    await takeSnapshot(place, FILES);
    const before = await openPlace(place);
    const [pack] = await listObjects(before, 'packs/');
    await before.close();
    await rm(join(place.path, pack ?? ''));

    const repository = await openPlace(place);
    expect(repository.warnings.map((one) => [one.code, one.objects])).toEqual([['missing_pack', [pack]]]);
    await repository.close();
    await takeSnapshot(place, FILES);

    const healed = await openPlace(place);
    expect(await readFiles(healed, '1')).toEqual(FILES);
    expect(await readFiles(healed, '2')).toEqual(FILES);
    await healed.close();
  });
});
