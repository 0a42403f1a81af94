/**
 * The sealer that modules use: derived keys are cached, and believed only as long as keyd keeps saying that nothing changed.
 *
 * A watch is always under way. It answers at once when a key changes, and otherwise every `WATCH_MS`; the cache counts until
 * `LEASE_MS` after the last watch was *sent*. So a disabled key stops within a second, also when keyd hangs or is gone: then
 * every call asks keyd itself, and fails if it must.
 */
import { randomBytes } from 'node:crypto';
import { type Clock, systemClock } from '../lib/clock.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { DerivedKey, FieldSealer, KeyClient, OpenRequest, SealRequest } from './key-client.ts';
import {
  blindIndex,
  fileKeyContext,
  type KeyPurpose,
  openField,
  sealField,
  type VersionedKey,
} from './sealing.ts';

const WATCH_MS = 400;
const LEASE_MS = 900;
/** A derived key is asked for again after this long, so that an expiry is noticed. */
const MAX_AGE_MS = 60_000;
const MAX_CACHED = 20_000;
const MAX_DERIVED_AT_ONCE = 500;

interface Cached {
  derived: DerivedKey;
  untilMs: number;
}

interface Wanted {
  keyId: string;
  purpose: KeyPurpose;
}

/** The derived keys that count now. */
interface KeyCache {
  get(wanted: readonly Wanted[]): Promise<(DerivedKey | Error)[]>;
  close(): void;
}

/** @param client of role server, or role run of a scratch keyd. */
export function openSealer(
  client: Pick<KeyClient, 'deriveKeys' | 'watch'>,
  clock: Clock = systemClock,
): FieldSealer {
  const cache = openCache(client, clock);

  async function one(keyId: string, purpose: KeyPurpose): Promise<DerivedKey> {
    const [derived] = await cache.get([{ keyId, purpose }]);
    if (!derived) throw new HoldfastError('internal', 'The key service gave no answer for a key');
    if (derived instanceof Error) throw derived;
    return derived;
  }

  async function seal(requests: readonly SealRequest[]): Promise<Buffer[]> {
    const keys = await cache.get(requests);
    return requests.map((request, index) =>
      sealField(sealingKey(keys[index]), request.context, request.value),
    );
  }

  async function tryOpen(requests: readonly OpenRequest[]): Promise<(Buffer | Error)[]> {
    const keys = await cache.get(requests);
    return requests.map((request, index) => {
      try {
        return openField(openingKeys(keys[index]), request.context, request.sealed);
      } catch (error) {
        if (error instanceof HoldfastError) return error;
        throw error;
      }
    });
  }

  async function open(requests: readonly OpenRequest[]): Promise<Buffer[]> {
    const results = await tryOpen(requests);
    return results.map((result) => {
      if (result instanceof Error) throw result;
      return result;
    });
  }

  const sealOne = async (request: SealRequest) => single(await seal([request]));
  const openOne = async (request: OpenRequest) => single(await open([request]));
  const blindIndexes: FieldSealer['blindIndexes'] = async (keyId, values) => {
    const [first] = (await one(keyId, 'blind-index')).versions;
    if (!first) throw new HoldfastError('internal', 'A key has no version');
    return values.map(({ context, value }) => blindIndex(first.key, context, value));
  };

  return {
    seal,
    open,
    tryOpen,
    sealName: (keyId, context, value) => sealOne({ keyId, purpose: 'names', context, value }),
    openName: async (keyId, context, sealed) =>
      (await openOne({ keyId, purpose: 'names', context, sealed })).toString('utf8'),
    sealPerson: (keyId, context, value) => sealOne({ keyId, purpose: 'person', context, value }),
    openPerson: async (keyId, context, sealed) =>
      (await openOne({ keyId, purpose: 'person', context, sealed })).toString('utf8'),
    blindIndexes,
    blindIndex: async (keyId, context, value) => single(await blindIndexes(keyId, [{ context, value }])),
    async createFileKey(file) {
      const key = randomBytes(32);
      const context = fileKeyContext(file);
      const wrapped = await sealOne({ keyId: file.subjectKeyId, purpose: 'wrap', context, value: key });
      return { key, wrapped };
    },
    openFileKey: (file, wrapped) =>
      openOne({ keyId: file.subjectKeyId, purpose: 'wrap', context: fileKeyContext(file), sealed: wrapped }),
    async requireUsable(keyId) {
      await one(keyId, 'wrap');
    },
    close: cache.close,
  };
}

/**
 * A run's sealer: takes the right that the run was lent, should it open a field before it asked for the test identity, as one that
 * signs in to a target does; and again when keyd does not know of it any more, because it was started anew. A run that was lent none
 * gets none.
 */
export function openRunSealer(
  client: Pick<KeyClient, 'deriveKeys' | 'watch' | 'takeLiveKeys'>,
  runId: string,
): FieldSealer {
  const sealer = openSealer(client);
  let taken: Promise<void> | undefined;
  const take = (): Promise<void> => {
    const taking = client.takeLiveKeys(runId);
    taking.catch(() => {
      if (taken === taking) taken = undefined;
    });
    return (taken = taking);
  };
  return {
    ...sealer,
    async open(requests) {
      await (taken ?? take());
      try {
        return await sealer.open(requests);
      } catch (error) {
        if (!(error instanceof HoldfastError) || error.code !== 'forbidden') throw error;
        await take();
        return sealer.open(requests);
      }
    },
  };
}

function single<T>(list: readonly T[]): T {
  const [first] = list;
  if (first === undefined) throw new HoldfastError('internal', 'One value was asked for and none came');
  return first;
}

function openingKeys(derived: DerivedKey | Error | undefined): VersionedKey[] {
  if (!derived) throw new HoldfastError('internal', 'The key service gave no answer for a key');
  if (derived instanceof Error) throw derived;
  return derived.versions;
}

function sealingKey(derived: DerivedKey | Error | undefined): VersionedKey {
  const newest = openingKeys(derived).at(-1);
  if (!newest || !derived || derived instanceof Error)
    throw new HoldfastError('internal', 'A key has no version');
  if (derived.sealRefusal === null) return newest;
  throw new HoldfastError(
    'key_expired',
    'This key has expired: it opens what is there and seals nothing new',
    {
      hint: 'Rotate the key.',
    },
  );
}

function openCache(client: Pick<KeyClient, 'deriveKeys' | 'watch'>, clock: Clock): KeyCache {
  const cached = new Map<string, Cached>();
  let believedUntilMs = -1;
  /** Changes whenever the cache is emptied, so that an answer from before is not kept. */
  let age = 0;
  let closed = false;

  function forget(): void {
    cached.clear();
    age += 1;
  }

  function isOpen(): boolean {
    return !closed;
  }

  async function watch(): Promise<void> {
    let revision = 0;
    while (isOpen()) {
      const sentMs = clock.monotonicMs();
      try {
        const now = await client.watch(revision, believedUntilMs < 0 ? 0 : WATCH_MS);
        if (now !== revision) forget();
        revision = now;
        believedUntilMs = sentMs + LEASE_MS;
      } catch {
        // keyd is away: nothing cached counts, and whoever needs a key asks and gets the real error.
        forget();
        believedUntilMs = -1;
        revision = 0;
        if (isOpen()) await new Promise((resolve) => setTimeout(resolve, 100).unref());
      }
    }
  }
  void watch();

  function find(wanted: Wanted): DerivedKey | undefined {
    const nowMs = clock.monotonicMs();
    if (nowMs > believedUntilMs) return undefined;
    const entry = cached.get(nameOf(wanted));
    return entry && entry.untilMs >= nowMs ? entry.derived : undefined;
  }

  async function derive(missing: Map<string, Wanted>, into: Map<string, DerivedKey | Error>): Promise<void> {
    const list = [...missing.values()];
    for (let start = 0; start < list.length; start += MAX_DERIVED_AT_ONCE) {
      const part = list.slice(start, start + MAX_DERIVED_AT_ONCE);
      const ageBefore = age;
      const answers = await client.deriveKeys(part.map(({ keyId, purpose }) => ({ keyId, purpose })));
      const untilMs = clock.monotonicMs() + MAX_AGE_MS;
      part.forEach((wanted, index) => {
        const answer =
          answers[index] ?? new HoldfastError('internal', 'The key service gave too few answers');
        into.set(nameOf(wanted), answer);
        if (answer instanceof Error || age !== ageBefore) return;
        cached.set(nameOf(wanted), { derived: answer, untilMs });
      });
    }
    for (const name of cached.keys()) {
      if (cached.size <= MAX_CACHED) break;
      cached.delete(name);
    }
  }

  return {
    async get(wanted) {
      const missing = new Map<string, Wanted>();
      const found = new Map<string, DerivedKey | Error>();
      for (const item of wanted) {
        const derived = find(item);
        if (derived) found.set(nameOf(item), derived);
        else missing.set(nameOf(item), item);
      }
      if (missing.size > 0) await derive(missing, found);
      return wanted.map(
        (item) => found.get(nameOf(item)) ?? new HoldfastError('internal', 'A key is missing'),
      );
    },
    close() {
      closed = true;
      forget();
      believedUntilMs = -1;
    },
  };
}

function nameOf(wanted: Wanted): string {
  return `${wanted.purpose}/${wanted.keyId}`;
}
