/**
 * A disk that fails at any call: EIO and ENOSPC from each call that the directory target makes of the operating system while a snapshot
 * is written, or one is forgotten and pruned, once and from then on. `SEED=n` tries the same ones again; `SLOW=1` tries all.
 */
import { existsSync, readdirSync } from 'node:fs';
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { bytesOf, createPlace, takeSnapshot, withWriter, type Place } from '../backups/repository-place.ts';
import {
  choose,
  FIRST,
  meetFault,
  rememberCatalogue,
  restoreListed,
  seed,
  surviveFault,
  type Fault,
} from './survive-fault.ts';

interface Disk {
  /** Only what lies below it fails. */
  top: string;
  /** In the order of the calls. */
  calls: string[];
  fails(at: number): string | undefined;
}

const disk = vi.hoisted((): Disk => ({ top: '', calls: [], fails: () => undefined }));

vi.mock('node:fs/promises', async (original) => {
  const real = await original<Record<string, (...args: unknown[]) => Promise<unknown>>>();
  const strike = (call: string, path: unknown): void => {
    if (disk.top === '' || typeof path !== 'string' || !path.startsWith(disk.top)) return;
    disk.calls.push(call);
    const code = disk.fails(disk.calls.length);
    if (code !== undefined)
      throw Object.assign(new Error(`${code}: injected, ${call}`), { code, syscall: call });
  };
  const onHandle = (handle: Record<string, (...args: unknown[]) => Promise<unknown>>, path: string) =>
    new Proxy(handle, {
      get(of, name) {
        const act = Reflect.get(of, name, of) as unknown;
        if (typeof act !== 'function') return act;
        return async (...args: unknown[]) => {
          const call = `handle.${String(name)}`;
          try {
            strike(call, path);
          } catch (error) {
            // A write may have come halfway, and a file is closed although its close says that it failed.
            if (name === 'close') await of.close?.();
            if (name === 'write' && args[0] instanceof Uint8Array)
              await of.write?.(args[0].subarray(0, args[0].length / 2), 0);
            throw error;
          }
          return (act as (...given: unknown[]) => unknown).apply(of, args);
        };
      },
    });
  const hooked = Object.entries(real).map(([name, act]) => [
    name,
    typeof act !== 'function'
      ? act
      : async (...args: unknown[]) => {
          strike(name, args[0]);
          const made = await act(...args);
          return name === 'open' &&
            typeof args[0] === 'string' &&
            disk.top !== '' &&
            args[0].startsWith(disk.top)
            ? onHandle(made as Parameters<typeof onHandle>[0], args[0])
            : made;
        },
  ]);
  return Object.fromEntries(hooked) as object;
});

/** Calls that need room. */
const FILLS = /^(open|mkdir|mkdtemp|link|rename|copyFile|handle\.(write|writev|sync|datasync|close))$/;

let place: Place;
let origin: string;
let restoreCatalogue: () => Promise<void>;
let calls: string[];

beforeAll(async () => {
  place = await createPlace(existsSync('/dev/shm') ? '/dev/shm' : undefined);
  await takeSnapshot(place, FIRST);
  origin = `${place.path}-origin`;
  await rememberPlace();
  calls = await callsOfARun();
});
afterAll(() => place.dispose());

async function reset(): Promise<void> {
  await rm(place.path, { recursive: true });
  await cp(origin, place.path, { recursive: true });
  await restoreCatalogue();
}

async function rememberPlace(): Promise<void> {
  await rm(origin, { recursive: true, force: true });
  await cp(place.path, origin, { recursive: true });
  restoreCatalogue = await rememberCatalogue(place);
}

function watch(fails: (at: number) => string | undefined = () => undefined): void {
  disk.calls = [];
  disk.fails = fails;
  disk.top = place.path;
}

async function callsOfARun(): Promise<string[]> {
  let seen: string[] = [];
  await surviveFault(place, {
    name: 'none',
    begin: () => watch(),
    end: () => {
      seen = disk.calls;
      disk.top = '';
    },
  });
  return seen;
}

test('a disk that fails at any call of a run loses no snapshot, and none is called stored that cannot be restored', async () => {
  expect(calls.length).toBeGreaterThan(80);
  for (const needed of ['open', 'link', 'unlink', 'handle.write', 'handle.sync'])
    expect(calls).toContain(needed);
  await tryAll(choose(faultsOf(calls), 20), (fault) => surviveFault(place, fault));
}, 1_800_000);

test('a disk that fails at any call of forget and prune takes nothing that is kept, and the next prune finishes', async () => {
  await reset();
  const oldest = await takeSnapshot(place, { old: bytesOf('old', 20_000) });
  const kept: Record<string, Buffer>[] = [FIRST, { new: bytesOf('new', 20_000) }];
  await takeSnapshot(place, kept[1] ?? {});
  const older = await takeSnapshot(place, { older: bytesOf('older', 20_000) });
  // What this one leaves is due when the day is over.
  await withWriter(place, (writer) => writer.forget([oldest.id]));
  await withWriter(place, (writer) => writer.prune());
  place.clock.advance(26 * 3_600_000);
  await rememberPlace();
  const work = () =>
    withWriter(place, async (writer, repository) => {
      const { snapshots } = await repository.snapshots();
      if (snapshots.some(({ id }) => id === older.id)) await writer.forget([older.id]);
      return writer.prune();
    });
  const seen = { name: 'none', begin: () => watch(), end: () => (disk.top = '') };
  expect(await meetFault(seen, 'none', work)).toBe('done');
  const made = disk.calls;
  const left = objectsIn(place.path, 'packs').length;
  expect(left).toBeLessThan(objectsIn(origin, 'packs').length);

  await tryAll(choose(faultsOf(made), 15), async (fault) => {
    const about = `SEED=${String(seed)}: ${fault.name}`;
    const ended = await meetFault(fault, about, work);
    const listed = await restoreListed(place, about);
    expect(listed.slice(0, 2), about).toEqual(kept);

    await work();
    expect(await restoreListed(place, about), about).toEqual(kept);
    expect(objectsIn(place.path, 'packs').length, about).toBe(left);
    return ended;
  });
}, 1_800_000);

function faultsOf(made: readonly string[]) {
  return made.flatMap((call, index) =>
    ['EIO', ...(FILLS.test(call) ? ['ENOSPC'] : [])].flatMap((code) =>
      (['once', 'from then on'] as const).map((how) => ({ at: index + 1, call, code, how })),
    ),
  );
}

async function tryAll(
  faults: ReturnType<typeof faultsOf>,
  survive: (fault: Fault) => Promise<string>,
): Promise<void> {
  const ended = new Map<string, number>();
  for (const { at, call, code, how } of faults) {
    await reset();
    const outcome = await survive({
      name: `${code} from call ${String(at)} (${call}), ${how}`,
      begin: () => watch((now) => ((how === 'once' ? now === at : now >= at) ? code : undefined)),
      end: () => (disk.top = ''),
    });
    expect(disk.calls.length, `up to ${code} from call ${String(at)}`).toBeGreaterThanOrEqual(at);
    ended.set(outcome, (ended.get(outcome) ?? 0) + 1);
  }
  process.stdout.write(`SEED=${String(seed)} ${JSON.stringify(Object.fromEntries(ended))}\n`);
  // Faults that never end a run would say that they were not injected.
  expect(ended.get('unavailable') ?? 0).toBeGreaterThan(0);
}

const objectsIn = (path: string, kind: string): string[] =>
  readdirSync(join(path, kind), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.age'),
  );
