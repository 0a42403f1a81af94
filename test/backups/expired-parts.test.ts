/** Parts of a snapshot that are kept no more, in the repository: what readers see, what prune frees, what a copy starts with. */
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { SnapshotRecord } from '../../server/backups/engine.ts';
import { isReduced, requireKept } from '../../server/backups/expired-parts.ts';
import { numberedName } from '../../server/backups/objects/object-names.ts';
import { copySnapshot } from '../../server/backups/repository/copy-snapshot.ts';
import { createRepository } from '../../server/backups/repository/create-repository.ts';
import { verifyRepository } from '../../server/backups/repository/verify-repository.ts';
import { openTarget } from '../../server/backups/targets/open-target.ts';
import {
  bytesOf,
  createPlace,
  cutOffAt,
  HOLDER,
  openPlace,
  readFiles,
  storeFiles,
  withWriter,
  type OpenPlaceOptions,
  type Place,
} from './repository-place.ts';

vi.setConfig({ testTimeout: 60_000 });

const DAY_MS = 24 * 3_600_000;
const DATA = { 'data.bin': bytesOf('data', 200_000) };
const LOGS = { 'logs.txt': bytesOf('logs', 3_000) };
const BECAUSE = 'no rule keeps it';

let place: Place;
beforeEach(async () => {
  place = await createPlace();
});
afterEach(async () => {
  cutOffAt(undefined);
  await place.dispose();
});

/** With the sections `files` and `system`. */
async function take(seed = '', options: OpenPlaceOptions = {}): Promise<SnapshotRecord> {
  return withWriter(
    place,
    async (writer, repository) => {
      const keys = place.local.writeKeys;
      const data = seed === '' ? DATA : { ...DATA, [seed]: bytesOf(seed, 100_000) };
      const large = await storeFiles(repository, writer, keys, data, place.clock);
      const small = await storeFiles(repository, writer, keys, LOGS, place.clock);
      const system = small.sections.map((section) => ({ ...section, name: 'system' }));
      const draft = { ...large, sections: [...large.sections, ...system] };
      const record = await writer.publishSnapshot(draft);
      await writer.publishHead();
      return record;
    },
    options,
  );
}

const expire = ({ id }: SnapshotRecord, sections: string[], options: OpenPlaceOptions = {}) =>
  withWriter(place, (writer) => writer.forget([], [{ snapshotId: id, sections, because: BECAUSE }]), options);

async function prune(options: OpenPlaceOptions = {}, at = place) {
  await withWriter(at, (writer) => writer.prune(), options);
  at.clock.advance(2 * DAY_MS);
  return withWriter(at, (writer) => writer.prune(), options);
}

/** By the target alone: the catalogue is a new one. */
async function look<T>(
  at: Place,
  act: (repository: Awaited<ReturnType<typeof openPlace>>) => Promise<T>,
): Promise<T> {
  const catalogue = join(at.top, 'fresh.sqlite');
  const repository = await openPlace(at, { kit: true, catalogue });
  try {
    return await act(repository);
  } finally {
    await repository.close();
    await rm(catalogue);
  }
}

async function expectWhole(at: Place): Promise<void> {
  await look(at, async (repository) => {
    const report = await verifyRepository(repository, { everyByte: true });
    expect(report.problems).toEqual([]);
    expect(repository.warnings).toEqual([]);
  });
}

describe('the large part of a snapshot that is kept no more', () => {
  test.each([
    ['with a key', {}],
    ['write-only', { writeOnly: true }],
  ])(
    '%s: its bytes go, the rest is whole and is read, and it is refused with the reason',
    async (_, options) => {
      await take('', options);
      const second = await take('one', options);

      await expire(second, ['files'], options);
      expect((await prune(options)).deletedBytes).toBeGreaterThan(90_000);

      await expectWhole(place);
      await look(place, async (repository) => {
        const found = await repository.findSnapshot(second.id);
        expect(found.sections.map((section) => section.name)).toEqual(['system']);
        expect(isReduced(found)).toBe(true);
        expect(() => requireKept(found, ['system'])).not.toThrow();
        expect(() => requireKept(found, ['files'])).toThrow(
          expect.objectContaining({
            code: 'wrong_state',
            message: expect.stringMatching(
              /"files" is kept no more since \d{4}-\d\d-\d\d: no rule keeps it$/,
            ) as string,
          }),
        );
        expect(await readFiles(repository, second.id)).toEqual(LOGS);
        expect(await readFiles(repository, '1')).toEqual({ ...DATA, ...LOGS });
      });
    },
  );

  test('is not what `latest` means, as long as there is a whole one', async () => {
    const first = await take();
    const second = await take('two');

    await expire(second, ['files']);
    expect((await look(place, (repository) => repository.findSnapshot('latest'))).id).toBe(first.id);

    await expire(first, ['files']);
    expect((await look(place, (repository) => repository.findSnapshot('latest'))).id).toBe(second.id);
  });

  test.each(['backups.head.written', 'backups.head.verified', 'backups.head.recorded'])(
    'cut off at %s it is said by the head that arrived, and the next run goes on from there',
    async (point) => {
      const first = await take('one');
      await take();
      cutOffAt(point);
      await expect(expire(first, ['files'])).rejects.toThrow('cut off');
      cutOffAt(undefined);

      await prune();

      await expectWhole(place);
      const found = await look(place, (repository) => repository.findSnapshot(first.id));
      expect(found.sections.map((section) => section.name)).toEqual(['system']);
    },
  );

  test('before a head says so nothing of it is let go', async () => {
    const first = await take('one');
    const broken = Object.assign(new Error('no space'), { code: 'ENOSPC' });
    await withWriter(place, async (writer, repository) => {
      const create = vi.spyOn(repository.target, 'write').mockRejectedValueOnce(broken);
      await expect(
        writer.forget([], [{ snapshotId: first.id, sections: ['files'], because: BECAUSE }]),
      ).rejects.toThrow('no space');
      create.mockRestore();
      expect((await writer.prune()).markedBytes).toBe(0);
    });
    expect((await look(place, (repository) => repository.findSnapshot(first.id))).sections).toHaveLength(2);
  });

  test('stays said by each later head, and goes from there with its snapshot', async () => {
    const first = await take('one');
    await expire(first, ['files']);
    const second = await take();
    const headOf = () =>
      look(place, async ({ head, headReference, target }) => {
        if (headReference === undefined) throw new Error('no head');
        const text = (await readFile(join(place.path, numberedName('heads', headReference)))).toString();
        expect(target.config.kind).toBe('directory');
        return { head, first: JSON.parse(text.split('\n')[0] ?? '') as { must: string[] } };
      });

    const before = await headOf();
    await withWriter(place, (writer) => writer.forget([first.id]));
    const after = await headOf();

    expect(before.head?.expired).toMatchObject([
      { snapshot: { number: 1, sha256: first.id }, sections: ['files'], because: BECAUSE },
    ]);
    // Whoever does not know of it must not take it for damage.
    expect(before.first.must).toEqual(['expired']);
    expect(after.head?.expired).toBeUndefined();
    expect(after.first.must).toEqual([]);
    expect(second.number).toBe(2);
  });

  test('all parts at once, or those of a snapshot that is not there, are refused, and nothing changes', async () => {
    const first = await take();

    await expect(expire(first, ['files', 'system'])).rejects.toMatchObject({ code: 'wrong_state' });
    await expect(expire({ ...first, id: '0'.repeat(64) }, ['files'])).rejects.toMatchObject({
      code: 'not_found',
    });

    expect((await look(place, (repository) => repository.findSnapshot(first.id))).sections).toHaveLength(2);
  });

  test('what a later snapshot stores again of it stays', async () => {
    const first = await take('one');
    await expire(first, ['files']);
    await withWriter(place, (writer) => writer.prune());
    await take('one');

    place.clock.advance(2 * DAY_MS);
    await withWriter(place, (writer) => writer.prune());

    await expectWhole(place);
    const files = await look(place, (repository) => readFiles(repository, '2'));
    expect(files).toEqual({ ...DATA, one: bytesOf('one', 100_000), ...LOGS });
  });
});

describe('another target', () => {
  let other: Place;
  beforeEach(async () => {
    const path = join(place.top, 'second');
    await mkdir(path);
    const target = { kind: 'directory', path } as const;
    other = {
      ...place,
      path,
      open: () => openTarget(target),
      cataloguePath: join(place.top, 'second.sqlite'),
    };
    const { writeKeys: keys, keysObject } = other.local;
    const { cataloguePath, clock } = other;
    await createRepository({ target, keys, keysObject, cataloguePath, holder: HOLDER, clock });
  });

  async function copy(
    snapshot: SnapshotRecord,
    source: OpenPlaceOptions & { catalogue?: string } = { writeOnly: true },
  ): Promise<void> {
    const from = await openPlace(place, source);
    try {
      await withWriter(
        other,
        async (writer, repository) => {
          const named = { name: 'first', target: from.target, catalogue: from.catalogue };
          const signal = new AbortController().signal;
          await copySnapshot(named, { repository, writer }, snapshot, { signal });
          await writer.publishHead();
        },
        source.writeOnly === true ? { writeOnly: true } : {},
      );
    } finally {
      await from.close();
    }
  }

  test('is given what is left of one that has lost its small part, and says so itself', async () => {
    const first = await take('', { writeOnly: true });
    await expire(first, ['system'], { writeOnly: true });
    await prune({ writeOnly: true });

    await copy(first);
    await prune({ writeOnly: true }, other);

    await expectWhole(other);
    await look(other, async (repository) => {
      const found = await repository.findSnapshot(first.id);
      expect(found.expired).toMatchObject([{ section: { name: 'system' }, because: BECAUSE }]);
      expect(isReduced(found)).toBe(false);
      expect(await readFiles(repository, 'latest')).toEqual(DATA);
    });
  });

  test('is given it by a source whose catalogue was lost, too', async () => {
    const first = await take();
    await expire(first, ['system']);
    await prune();

    await copy(first, { kit: true, catalogue: join(place.top, 'rebuilt.sqlite') });

    await expectWhole(other);
    const found = await look(other, (repository) => repository.findSnapshot(first.id));
    expect(found.expired).toMatchObject([{ section: { name: 'system' } }]);
  });

  test('is given no snapshot of which only small parts are left, and keeps its own whole', async () => {
    const [first, second] = [await take('one'), await take('two')];
    await copy(first);
    await expire(first, ['files']);
    await expire(second, ['files']);
    await prune();

    await expect(copy(second)).rejects.toMatchObject({
      code: 'not_found',
      message: 'Of snapshot 2 only small parts are left on first',
    });

    await expectWhole(other);
    const files = await look(other, (repository) => readFiles(repository, first.id));
    expect(files).toEqual({ ...DATA, one: bytesOf('one', 100_000), ...LOGS });
  });
});
