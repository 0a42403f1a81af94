/** Prune and what is shipped between snapshots, against a clock that the test moves. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { publish, sealObject } from '../../../server/backups/repository/object-store.ts';
import type { Repository } from '../../../server/backups/repository/open-repository.ts';
import type { RepositoryWriter } from '../../../server/backups/repository/writer.ts';
import { sha256Of } from '../../../server/backups/objects/object-names.ts';
import { shipBornFiles } from '../../../server/backups/wal/born-files.ts';
import type { LogKnowledge } from '../../../server/backups/wal/log-needs.ts';
import { walPieceName } from '../../../server/backups/wal/wal-names.ts';
import { encodeWalPiece } from '../../../server/backups/wal/wal-piece.ts';
import { formatLsn } from '../../../server/lib/postgres/index.ts';
import {
  createPlace,
  listObjects,
  openPlace,
  type Place,
  storeFiles,
  withWriter,
} from '../repository-place.ts';

vi.setConfig({ testTimeout: 60_000 });

const HOUR_MS = 3_600_000;
const CHAIN = { systemId: '7711', timeline: 1, life: '' };
const CONTENT = 'ab000000-0000-4000-8000-000000000001';
const LOG: LogKnowledge = {
  ...{ windowDays: 2, position: null, packsOf: () => undefined },
  removed: () => undefined,
};

let place: Place;
beforeEach(async () => {
  place = await createPlace();
});
afterEach(async () => {
  await place.dispose();
});

const withLog = <T>(work: (writer: RepositoryWriter, repository: Repository) => Promise<T>): Promise<T> =>
  withWriter(place, work, { log: LOG });
const prune = () => withLog((writer) => writer.prune());

async function names(prefix: string): Promise<string[]> {
  const repository = await openPlace(place);
  const found = await listObjects(repository, prefix);
  await repository.close();
  return found;
}

async function shipPiece(number: number, from: number, to: number): Promise<string> {
  return withLog(async (_, { target }) => {
    const { writeKeys: keys } = place.local;
    const at = place.clock.now();
    const piece = {
      ...{ ...CHAIN, number, segmentBytes: 16 * 1024 ** 2, previous: null, gap: null, bornFiles: 0 },
      ...{ from: formatLsn(BigInt(from)), to: formatLsn(BigInt(to)), completeAt: at.toISOString() },
      keyring: { epoch: '0', objects: [] },
    };
    const plaintext = await encodeWalPiece(keys.repositoryId, piece, Buffer.alloc(to - from), keys);
    const stored = await sealObject(plaintext, keys);
    const range = { from: BigInt(from), to: BigInt(to), atMs: at.getTime(), sha256: sha256Of(stored) };
    const name = walPieceName({ ...CHAIN, ...range });
    await publish(target, name, stored, 'test');
    return name;
  });
}

/** A snapshot whose database ends there. */
async function takeBase(endLsn: number, bornFiles: number): Promise<void> {
  await withLog(async (writer, repository) => {
    const content = { 'a.txt': Buffer.from(`at ${String(endLsn)}`) };
    const draft = await storeFiles(repository, writer, place.local.writeKeys, content, place.clock);
    const database = {
      ...{ name: 'database', kind: 'postgres' as const, segments: [], fileCount: 0, directoryCount: 0 },
      ...{
        sizeBytes: 0,
        problems: [],
        problemCount: 0,
        facts: { ...CHAIN, endLsn: formatLsn(BigInt(endLsn)) },
      },
    };
    const facts = { ...draft.facts, bornFiles };
    await writer.publishSnapshot({ ...draft, facts, sections: [...draft.sections, database] });
    await writer.publishHead();
  });
}

async function shipFile(number: number): Promise<string[]> {
  const files = join(place.top, 'store');
  mkdirSync(join(files, 'ab'), { recursive: true });
  writeFileSync(join(files, 'ab', CONTENT), `born ${String(number)}`);
  return withLog(async (_, { target }) => {
    const { writeKeys: keys } = place.local;
    const signal = new AbortController().signal;
    const where = { target, keys, files, now: place.clock.now(), signal, answered: () => undefined };
    const { packs } = await shipBornFiles(where, number, [CONTENT]);
    return packs.map(({ id }) => `packs/${id.slice(0, 2)}/${id}.age`);
  });
}

test('what a possible moment needs stays, packs that no index names too; the rest goes by two prunes', async () => {
  await takeBase(100, 0);
  const old = await shipPiece(1, 100, 200);
  const oldPacks = await shipFile(1);
  await prune();
  place.clock.advance(26 * HOUR_MS);
  await prune();

  expect(await names('wal/')).toEqual([old]);
  expect(await names('packs/')).toEqual(expect.arrayContaining(oldPacks));

  // A newer snapshot, and the older one outside the window of two days.
  await takeBase(200, 1);
  const young = await shipPiece(2, 200, 300);
  place.clock.advance(30 * HOUR_MS);
  await prune();

  expect(await names('wal/')).toEqual([old, young].sort());

  place.clock.advance(16 * HOUR_MS);
  await takeBase(300, 1);
  place.clock.advance(10 * HOUR_MS);
  await prune();

  expect(await names('wal/')).not.toContain(old);
  expect(await names('files/')).toEqual([]);
  expect((await names('packs/')).filter((name) => oldPacks.includes(name))).toEqual([]);
});
