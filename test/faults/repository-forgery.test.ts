/** What hostile storage may do: change, cut, remove, exchange, replay, add. Nothing of it is obeyed, all of it is named. */
import { createHash } from 'node:crypto';
import { copyFile, cp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { encodeHead } from '../../server/backups/objects/head-object.ts';
import { encodeIndex } from '../../server/backups/objects/index-object.ts';
import { numberedName } from '../../server/backups/objects/object-names.ts';
import { verifyRepository } from '../../server/backups/repository/verify-repository.ts';
import {
  createLocalRepositoryKeys,
  createSigningKey,
  encryptAge,
  generateAgeIdentity,
  signStatement,
} from '../../server/keys/index.ts';
import {
  bytesOf,
  createPlace,
  listObjects,
  openPlace,
  openPlaceWriter,
  type Place,
  readFiles,
  takeSnapshot,
} from '../backups/repository-place.ts';

vi.setConfig({ testTimeout: 60_000 });

const FILES = { 'a.bin': bytesOf('a', 30_000) };
const MORE = { ...FILES, 'b.bin': bytesOf('b', 30_000) };

let place: Place;
beforeEach(async () => {
  place = await createPlace();
  await takeSnapshot(place, FILES);
});
afterEach(async () => {
  await place.dispose();
});

const at = (name: string): string => join(place.path, name);

async function namesOf(prefix: string): Promise<string[]> {
  const repository = await openPlace(place, { catalogue: join(place.top, 'listing.sqlite') });
  const names = await listObjects(repository, prefix);
  await repository.close();
  return names;
}

/** A reader with nothing but the kit. */
const openFresh = async () => {
  await rm(join(place.top, 'fresh.sqlite'), { force: true });
  return openPlace(place, { kit: true, catalogue: join(place.top, 'fresh.sqlite') });
};
const codesOf = (repository: { warnings: readonly { code: string }[] }) =>
  repository.warnings.map((one) => one.code);

describe('a pack', () => {
  const dataPack = async () => {
    const repository = await openFresh();
    const pack = [...repository.catalogue.packs()].find((one) => one.kind === 'data');
    await repository.close();
    return `packs/${(pack?.id ?? '').slice(0, 2)}/${pack?.id ?? ''}.age`;
  };

  test('that was cut short is named, and its files do not restore', async () => {
    const name = await dataPack();
    await truncate(at(name), 10_000);

    const repository = await openFresh();

    expect(repository.warnings).toMatchObject([{ code: 'missing_pack', objects: [name] }]);
    await expect(readFiles(repository, 'latest')).rejects.toMatchObject({ code: 'integrity_failure' });
    expect((await verifyRepository(repository, { everyByte: true })).ok).toBe(false);
    await repository.close();
  });

  test('with a flipped bit is found by verify, and never restored from', async () => {
    const name = await dataPack();
    const bytes = await readFile(at(name));
    bytes[15_000] = (bytes[15_000] ?? 0) ^ 1;
    await writeFile(at(name), bytes);

    const repository = await openFresh();

    await expect(readFiles(repository, 'latest')).rejects.toMatchObject({ code: 'integrity_failure' });
    const report = await verifyRepository(repository, { everyByte: true });
    expect(report.problems).toMatchObject([{ object: name }]);
    await repository.close();
  });

  test('that verify found damaged is stored again by the next snapshot, and then every reader is served', async () => {
    const name = await dataPack();
    const bytes = await readFile(at(name));
    bytes[15_000] = (bytes[15_000] ?? 0) ^ 1;
    await writeFile(at(name), bytes);
    const own = await openPlace(place);
    await verifyRepository(own, { everyByte: true });
    await own.close();

    await takeSnapshot(place, FILES);

    const reader = await openFresh();
    expect(await readFiles(reader, '1')).toEqual(FILES);
    expect(await readFiles(reader, 'latest')).toEqual(FILES);
    await reader.close();
    for (let round = 0; round < 2; round++) {
      const repository = await openPlace(place);
      const writer = await openPlaceWriter(place, repository);
      expect((await writer.prune()).missingChunks).toBe(0);
      await repository.close();
      place.clock.advance(2 * 24 * 3600_000);
    }
    const after = await openFresh();
    expect(await verifyRepository(after, { everyByte: true })).toMatchObject({ ok: true });
    expect(await readFiles(after, '1')).toEqual(FILES);
    await after.close();
  });

  test('that is missing is named, also to a run that has it in its catalogue', async () => {
    const name = await dataPack();
    await rm(at(name));

    for (const open of [openFresh, () => openPlace(place)]) {
      const repository = await open();
      expect(repository.warnings).toMatchObject([{ code: 'missing_pack', objects: [name] }]);
      expect((await verifyRepository(repository, { everyByte: false })).ok).toBe(false);
      await repository.close();
    }
  });

  test('exchanged for another one of the repository is found out', async () => {
    const [first = '', second = ''] = await namesOf('packs/');
    await copyFile(at(first), at('HOLDFAST.swap'));
    await copyFile(at(second), at(first));
    await copyFile(at('HOLDFAST.swap'), at(second));
    await rm(at('HOLDFAST.swap'));

    const repository = await openFresh();

    await expect(readFiles(repository, 'latest')).rejects.toThrow();
    expect((await verifyRepository(repository, { everyByte: true })).ok).toBe(false);
    await repository.close();
  });
});

describe('someone with only the public recipient', () => {
  /** An attacker's own signing key, with the id of ours. */
  const forger = () => {
    const key = createSigningKey();
    return {
      sign: async (statement: Parameters<typeof signStatement>[1]) =>
        signStatement({ id: place.local.signingKey.id, privateKey: key.privateKey }, statement),
    };
  };
  const put = async (kind: 'index' | 'heads' | 'keys', number: number, stored: Buffer): Promise<string> => {
    const sha256 = createHash('sha256').update(stored).digest('hex');
    const name = numberedName(kind, { number, sha256 });
    await writeFile(at(name), stored);
    return name;
  };

  test('cannot make an index object that is believed', async () => {
    const index = { number: 2, packs: [], supersedes: await namesOf('index/'), removals: [] };
    const plaintext = await encodeIndex(place.local.statement.repositoryId, index, forger());
    await put('index', 2, await encryptAge(plaintext, [place.local.statement.recipient]));

    const repository = await openFresh();
    expect(await readFiles(repository, 'latest')).toEqual(FILES);
    expect(repository.head?.indexes).toHaveLength(1);
    await repository.close();

    await takeSnapshot(place, MORE);
    const after = await openFresh();
    expect(await readFiles(after, '1')).toEqual(FILES);
    expect(await readFiles(after, 'latest')).toEqual(MORE);
    await after.close();
  });

  test('cannot make a head that is obeyed', async () => {
    const before = await openFresh();
    const { head } = before;
    if (!head) throw new Error('The repository has no head');
    await before.close();
    const forged = await encodeHead(
      place.local.statement.repositoryId,
      { ...head, number: head.number + 1, snapshots: [] },
      forger(),
    );
    const name = await put('heads', head.number + 1, forged);

    const repository = await openFresh();

    expect(repository.head).toEqual(head);
    expect(repository.warnings).toMatchObject([{ code: 'forged_object', objects: [name] }]);
    expect(await readFiles(repository, 'latest')).toEqual(FILES);
    await repository.close();
  });

  test('cannot make keys that are taken', async () => {
    const evil = await createLocalRepositoryKeys({ repositoryId: place.local.statement.repositoryId });
    const { decryptAge } = await import('../../server/keys/index.ts');
    const plaintext = await decryptAge(evil.keysObject.bytes, [evil.kit.identity]);
    const name = await put('keys', 2, await encryptAge(plaintext, [place.local.kit.recipient]));

    const repository = await openFresh();

    expect(repository.keys.generations).toHaveLength(1);
    expect(repository.warnings).toMatchObject([{ code: 'forged_object', objects: [name] }]);
    expect(await readFiles(repository, 'latest')).toEqual(FILES);
    await repository.close();
  });

  test('gets nothing encrypted to a recipient that was written into the public hint', async () => {
    const { identity, recipient } = await generateAgeIdentity();
    const hint = JSON.parse(await readFile(at('HOLDFAST'), 'utf8')) as object;
    await writeFile(at('HOLDFAST'), JSON.stringify({ ...hint, recipients: [recipient], recipient }));

    await takeSnapshot(place, MORE);

    const { decryptAge } = await import('../../server/keys/index.ts');
    for (const name of (await namesOf('')).filter((one) => one.endsWith('.age'))) {
      await expect(decryptAge(await readFile(at(name)), [identity])).rejects.toMatchObject({
        code: 'wrong_key',
      });
    }
  });

  test('cannot stop anything by changing or removing the hint', async () => {
    await writeFile(at('HOLDFAST'), '{"repository":"00000000-0000-4000-8000-00000000dead"}');
    expect(await readFiles(await openFresh(), 'latest')).toEqual(FILES);

    await rm(at('HOLDFAST'));
    await takeSnapshot(place, MORE);
    expect(await readFiles(await openFresh(), 'latest')).toEqual(MORE);
  });
});

describe('an older state', () => {
  test('put back whole is noticed by whoever remembers a newer head, and stops writing until confirmed', async () => {
    await cp(place.path, `${place.path}-old`, { recursive: true });
    await takeSnapshot(place, MORE);
    await rm(place.path, { recursive: true });
    await cp(`${place.path}-old`, place.path, { recursive: true });

    const repository = await openPlace(place);

    expect(codesOf(repository)).toContain('older_head');
    expect(repository.warnings.find((one) => one.code === 'older_head')?.message).toContain('number 3');
    const before = await listObjects(repository);
    await expect(openPlaceWriter(place, repository)).rejects.toMatchObject({
      code: 'wrong_state',
      hint: expect.stringContaining('confirm') as string,
    });
    expect(await listObjects(repository)).toEqual(before);
    const writer = await openPlaceWriter(place, repository, { confirmed: ['older_head'] });
    expect((await writer.publishHead()).reference.number).toBe(4);
    await repository.close();
  });

  test('a newest head taken away is noticed, and what it named is found again', async () => {
    await takeSnapshot(place, MORE);
    const heads = await namesOf('heads/');
    await rm(at(heads.find((name) => name.startsWith('heads/3-')) ?? ''));

    const own = await openPlace(place);
    expect(codesOf(own)).toEqual(expect.arrayContaining(['older_head', 'unclaimed_object']));
    await own.close();
    const stranger = await openFresh();
    expect(stranger.warnings.find((one) => one.code === 'unclaimed_object')?.objects).toEqual(
      expect.arrayContaining([expect.stringContaining('snapshots/2-')]),
    );
    await stranger.close();

    const repository = await openPlace(place);
    const writer = await openPlaceWriter(place, repository, { confirmed: ['older_head'] });
    await writer.publishHead();
    await repository.close();
    expect(await readFiles(await openFresh(), 'latest')).toEqual(MORE);
  });

  test('a newest snapshot that was deleted is named; the others are restored from', async () => {
    await takeSnapshot(place, MORE);
    const [name = ''] = (await namesOf('snapshots/')).filter((one) => one.startsWith('snapshots/2-'));
    await rm(at(name));

    const repository = await openFresh();

    expect(repository.warnings).toMatchObject([{ code: 'missing_object', objects: [name] }]);
    const { snapshots, problems } = await repository.snapshots();
    expect(snapshots.map((one) => one.number)).toEqual([1]);
    expect(problems).toMatchObject([{ objects: [name] }]);
    expect(await readFiles(repository, '1')).toEqual(FILES);
    await repository.close();
  });

  test('all heads gone: what the other objects say is shown, and a person is asked', async () => {
    for (const name of await namesOf('heads/')) await rm(at(name));

    const repository = await openFresh();

    expect(repository.warnings.find((one) => one.code === 'no_head')).toMatchObject({ confirm: true });
    expect(await readFiles(repository, 'latest')).toEqual(FILES);
    await expect(openPlaceWriter(place, repository)).rejects.toMatchObject({ code: 'wrong_state' });
    await repository.close();
  });

  test('an index object that is gone is named, prune stops, and the next snapshot is whole', async () => {
    const [name = ''] = await namesOf('index/');
    await rm(at(name));

    const repository = await openFresh();
    expect(repository.warnings).toMatchObject([{ code: 'missing_object', objects: [name] }]);
    const writer = await openPlaceWriter(place, repository);
    await expect(writer.prune()).rejects.toMatchObject({ code: 'integrity_failure' });
    await repository.close();

    await rm(place.cataloguePath);
    await takeSnapshot(place, MORE);
    expect(await readFiles(await openFresh(), 'latest')).toEqual(MORE);
  });
});
