/**
 * Kills the process (SIGKILL, as a power cut would end it) at every named durable step of a snapshot, of forget and of prune,
 * where it is reached first and last, and then finds everything that was finished before, and can go on.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { writeFile, rm, cp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verifyRepository } from '../../server/backups/repository/verify-repository.ts';
import {
  bytesOf,
  createPlace,
  listObjects,
  openPlace,
  type Place,
  readFiles,
  takeSnapshot,
  withWriter,
} from '../backups/repository-place.ts';

const CHILD = join(import.meta.dirname, 'repository-child.ts');
const HOOK = join(import.meta.dirname, '../helpers/crash-at.ts');
const DAY_MS = 24 * 3600_000;

let place: Place;
let origin: string;

beforeAll(async () => {
  // What a killed process wrote stays in the kernel either way; memory spares the disk thousands of fsyncs.
  place = await createPlace(existsSync('/dev/shm') ? '/dev/shm' : undefined);
  const { local } = place;
  const [generation] = local.writeKeys.generations;
  const base64 = (data: Uint8Array): string => Buffer.from(data).toString('base64');
  const saved = {
    repositoryId: local.statement.repositoryId,
    trustRoot: base64(local.trustRoot.publicKey),
    generation: generation && {
      ...generation,
      signingKeys: undefined,
      chunkIdSecret: base64(generation.chunkIdSecret),
    },
    signingKey: {
      id: local.signingKey.id,
      publicKey: base64(local.signingKey.publicKey),
      privateKey: base64(local.signingKey.privateKey),
    },
  };
  await writeFile(join(place.top, 'keys.json'), JSON.stringify(saved));
  for (const seed of ['one', 'two']) expect(await run('snapshot', seed)).toMatchObject({ code: 0 });
  origin = `${place.top}-origin`;
  await cp(place.top, origin, { recursive: true });
}, 60_000);

afterAll(async () => {
  await place.dispose();
  await rm(origin, { recursive: true, force: true });
});

const filesOf = (seed: string) => ({
  [`${seed}.bin`]: bytesOf(seed, 30_000),
  shared: bytesOf('shared', 9000),
});

interface Ended {
  code: number | null;
  signal: string | null;
  errors: string;
}

function run(what: string, seed = '', crashAt?: string): Promise<Ended> {
  const log = join(place.top, 'points.log');
  const child = spawn(
    process.execPath,
    ['--import', HOOK, CHILD, place.top, what, seed, String(place.clock.now().getTime())],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, HOLDFAST_TEST_CRASH_AT: crashAt ?? '', HOLDFAST_TEST_CRASH_LOG: log },
    },
  );
  let errors = '';
  child.stderr.on('data', (data: Buffer) => {
    errors += data.toString('utf8');
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, errors }));
  });
}

async function reset(): Promise<void> {
  await rm(place.top, { recursive: true });
  await cp(origin, place.top, { recursive: true });
}

/** Every crash point that the work reaches, each time it does, as `name:n`. */
async function pointsOf(what: string, seed = ''): Promise<string[]> {
  const log = join(place.top, 'points.log');
  await rm(log, { force: true });
  const ended = await run(what, seed);
  expect(ended).toMatchObject({ code: 0, errors: '' });
  const counts = new Map<string, number>();
  return (existsSync(log) ? readFileSync(log, 'utf8') : '')
    .split('\n')
    .filter((name) => name !== '')
    .map((name) => {
      const count = (counts.get(name) ?? 0) + 1;
      counts.set(name, count);
      return `${name}:${String(count)}`;
    });
}

/** Each name where it is reached first and last; with SLOW=1 every single time. */
function chosen(points: readonly string[]): string[] {
  if (process.env.SLOW === '1') return [...points];
  const nameOf = (point: string): string => point.split(':')[0] ?? '';
  return points.filter(
    (point, at) =>
      !points.slice(0, at).some((other) => nameOf(other) === nameOf(point)) ||
      !points.slice(at + 1).some((other) => nameOf(other) === nameOf(point)),
  );
}

/** What must hold at any time: no temporaries are seen, the structure is whole, every retained snapshot restores. */
async function expectWhole(seeds: readonly string[]): Promise<void> {
  for (const options of [{}, { kit: true, catalogue: join(place.top, 'fresh.sqlite') }]) {
    await rm(join(place.top, 'fresh.sqlite'), { force: true });
    const repository = await openPlace(place, options);
    try {
      const unexpected = repository.warnings.filter((one) => one.code !== 'unclaimed_object');
      expect(unexpected).toEqual([]);
      expect(await verifyRepository(repository, { everyByte: true })).toMatchObject({
        ok: true,
        problems: [],
      });
      const found = await Promise.all(
        repository.snapshotReferences.map((one) => readFiles(repository, one.sha256)),
      );
      expect(found).toEqual(seeds.map(filesOf));
    } finally {
      await repository.close();
    }
  }
}

describe('a process killed at any durable step', () => {
  test('of a snapshot leaves the ones before whole, and the next run finishes', async () => {
    const points = await pointsOf('snapshot', 'three');
    expect(points.length).toBeGreaterThan(20);
    const steps = new Set(points.map((point) => point.split(':')[0]));
    for (const step of ['target.object.written', 'target.object.linked']) expect(steps).toContain(step);
    for (const kind of ['index', 'keyring', 'snapshot', 'head']) {
      for (const step of ['written', 'verified', 'recorded']) {
        expect(steps).toContain(`backups.${kind}.${step}`);
      }
    }

    for (const point of chosen(points)) {
      await reset();
      const ended = await run('snapshot', 'three', point);
      expect(ended.signal, point).toBe('SIGKILL');

      const published = ['backups.head.written', 'backups.head.verified', 'backups.head.recorded'];
      const cut = await openPlace(place);
      const count = cut.snapshotReferences.length;
      await cut.close();
      if (published.includes(point.split(':')[0] ?? '')) expect(count, point).toBe(3);
      await expectWhole(['one', 'two', 'three'].slice(0, count));

      await takeSnapshot(place, filesOf('four'));
      const after = await openPlace(place);
      const numbers = after.snapshotReferences.map((one) => one.number);
      expect(new Set(numbers).size, point).toBe(numbers.length);
      expect(after.warnings, point).toEqual([]);
      expect(await readFiles(after, 'latest')).toEqual(filesOf('four'));
      const names = await listObjects(after, 'writers/');
      expect(names, point).toHaveLength(1);
      await after.close();
    }
  }, 600_000);

  test('of forget and of prune leaves every retained snapshot whole, and a later prune finishes', async () => {
    await reset();
    const forgetPoints = await pointsOf('forget');
    for (const point of chosen(forgetPoints)) {
      await reset();
      expect((await run('forget', '', point)).signal, point).toBe('SIGKILL');
      const repository = await openPlace(place);
      const count = repository.snapshotReferences.length;
      await repository.close();
      await expectWhole(['one', 'two'].slice(-count));
    }

    await reset();
    await run('forget');
    await cp(place.top, `${origin}-forgotten`, { recursive: true });
    const start = place.clock.now().getTime();
    for (const phase of ['mark', 'delete']) {
      const points = await pointsOf('prune');
      expect(
        points.some((point) =>
          point.startsWith(phase === 'mark' ? 'backups.prune.indexed' : 'backups.prune.deleted'),
        ),
        phase,
      ).toBe(true);
      for (const point of chosen(points)) {
        await rm(place.top, { recursive: true });
        await cp(`${origin}-forgotten`, place.top, { recursive: true });
        if (phase === 'delete') {
          place.clock.advance(start - place.clock.now().getTime());
          await withWriter(place, (writer) => writer.prune());
          place.clock.advance(2 * DAY_MS);
        }
        expect((await run('prune', '', point)).signal, point).toBe('SIGKILL');
        await expectWhole(['two']);
        await withWriter(place, (writer) => writer.prune());
        await expectWhole(['two']);
      }
      await rm(place.top, { recursive: true });
      await cp(`${origin}-forgotten`, place.top, { recursive: true });
      expect(await run('prune')).toMatchObject({ code: 0, errors: '' });
      place.clock.advance(2 * DAY_MS);
    }
    await rm(`${origin}-forgotten`, { recursive: true, force: true });
  }, 600_000);
});
