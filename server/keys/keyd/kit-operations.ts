/** Operations on recovery kits and the claim of the repository. */
import { randomUUID, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../lib/clock.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { generateAgeIdentity } from '../age.ts';
import type { RepositoryStatus } from '../key-client.ts';
import { type KitRecipient, openKeysObject } from '../keys-object.ts';
import { createKitChallenge } from '../kit-challenge.ts';
import {
  beginOf,
  type GenerationRecord,
  generationsOf,
  type RepositoryClaim,
  type RepositoryRecord,
  trustRootOf,
} from '../keyring/model.ts';
import { createKeysStatement, DEFAULT_CHUNKING } from '../local-repository-keys.ts';
import type { ChunkingParameters } from '../repository-keys.ts';
import { createSigningKey } from '../trust-root.ts';
import {
  type Arguments,
  flagArgument,
  numberArgument,
  objectArgument,
  textArgument,
  uuidArgument,
} from './arguments.ts';
import type { KeyringStore } from './store.ts';
import { storedKeysObject } from './stored-keys-object.ts';

/** How long a challenge may be answered. */
const CHALLENGE_LIFE_MS = 15 * 60_000;
const MAX_CHALLENGES = 16;
/** More kits than this are a mistake, and each object's header names all of them. */
const MAX_KITS = 20;
/** Each is an object on every target, and a key that every reader tries. */
const MAX_GENERATIONS = 32;

interface PendingChallenge {
  recipient: string;
  expected: string;
  untilMs: number;
}

interface KitContext {
  store: KeyringStore;
  clock: Clock;
}

/** The repository as anyone of the appliance may know it. */
export function repositoryStatus(repository: RepositoryRecord | null): RepositoryStatus {
  const claim = repository?.claim;
  return {
    claimed: claim != null,
    repositoryId: repository?.repositoryId ?? null,
    trustRoot: repository?.trustRoot.publicKey ?? null,
    generation: claim?.generation ?? 0,
    kits: repository?.kits.map((kit) => ({ ...kit, addedAt: kit.addedAt ?? kit.provenAt })) ?? [],
    retiredKits: repository?.retiredKits?.map(({ id, retiredAt }) => ({ id, retiredAt })) ?? [],
    generations: claim
      ? generationsOf(claim).map((one) => ({
          ...{ generation: one.generation, createdAt: beginOf(one) },
          testIdentity: one.testIdentity !== null,
        }))
      : [],
    writeOnly: claim?.testIdentity === null,
    identitiesDestroyedAt: repository?.identitiesDestroyedAt ?? null,
    keyringEpoch: repository?.publication?.epoch ?? 0,
    lastHeadNumber: repository?.lastHeadNumber ?? '0',
  };
}

/** The operations, by name. */
export function kitOperations({ store, clock }: KitContext) {
  /** By kit. A kit has one open challenge; it is used up by the first answer. */
  const pending = new Map<string, PendingChallenge>();

  const change = (repository: RepositoryRecord) => store.change([{ kind: 'repository', repository }]);

  function getRepository(): RepositoryRecord {
    const { repository } = store.keyring();
    if (!repository) throw new HoldfastError('wrong_state', 'There is no trust root yet');
    return repository;
  }

  async function challenge(kitId: string, recipient: string): Promise<string> {
    const made = await createKitChallenge(kitId, recipient);
    const nowMs = clock.monotonicMs();
    for (const [id, entry] of pending) if (entry.untilMs < nowMs) pending.delete(id);
    if (pending.size >= MAX_CHALLENGES) {
      throw new HoldfastError('too_many_requests', 'Too many recovery kits are waiting for their proof', {
        hint: 'Wait a quarter of an hour, then try again.',
      });
    }
    pending.set(kitId, { recipient, expected: made.expected, untilMs: nowMs + CHALLENGE_LIFE_MS });
    return made.challenge;
  }

  function redeem(kitId: string, response: string): string {
    const entry = pending.get(kitId);
    pending.delete(kitId);
    if (!entry || entry.untilMs < clock.monotonicMs()) {
      throw new HoldfastError('not_found', 'This proof of a recovery kit has run out', {
        hint: 'Begin it again.',
      });
    }
    const given = Buffer.from(response.padEnd(64).slice(0, 64));
    if (timingSafeEqual(given, Buffer.from(entry.expected))) return entry.recipient;
    throw new HoldfastError('wrong_key', 'This is not the right recovery kit', {
      hint: 'Type both lines of the secret key exactly as in the kit, or give the kit file.',
    });
  }

  /**
   * Other kits on a claimed repository: the keys object of each generation is made anew, opened with the test identity. One whose test
   * identity was destroyed stays as it is: nothing here opens it.
   */
  async function withKits(repository: RepositoryRecord, claim: RepositoryClaim, kits: KitRecipient[]) {
    const root = trustRootOf(repository);
    const trust = { repositoryId: repository.repositoryId, trustRoot: root.publicKey };
    const recipients = kits.map(({ id, recipient }) => ({ id, recipient }));
    const anew = async <T extends GenerationRecord>(one: T): Promise<T> => {
      if (one.testIdentity === null) return one;
      const stored = Buffer.from(one.keysObject.bytes, 'base64');
      const statement = await openKeysObject(stored, [one.testIdentity], trust);
      return { ...one, keysObject: await storedKeysObject({ ...statement, kits: recipients }, root) };
    };
    const earlier = await Promise.all((claim.earlier ?? []).map((one) => anew(one)));
    return { ...(await anew(claim)), ...(earlier.length === 0 ? {} : { earlier }) };
  }

  async function addKit(kitId: string, recipient: string): Promise<void> {
    const repository = getRepository();
    refuseRetired(repository, kitId, recipient);
    const known = repository.kits.find((kit) => kit.id === kitId);
    const provenAt = clock.now().toISOString();
    const kit = {
      id: kitId,
      recipient,
      provenAt,
      addedAt: known ? (known.addedAt ?? known.provenAt) : provenAt,
      ...(known?.lacks === undefined ? {} : { lacks: known.lacks }),
    };
    const { claim } = repository;
    if (known) {
      const kits = repository.kits.map((other) => (other.id === kitId ? kit : other));
      return change({ ...repository, kits });
    }
    if (!claim) return change({ ...repository, kits: [kit] });
    if (repository.kits.length >= MAX_KITS) {
      throw new HoldfastError('conflict', `There are ${MAX_KITS} recovery kits already`);
    }
    if (claim.testIdentity === null) {
      throw new HoldfastError('wrong_state', 'In write-only use a new kit would open nothing', {
        hint: 'Turn write-only mode off, which begins a new generation of keys; add the kit, and turn it on again.',
      });
    }
    const lacks = (claim.earlier ?? []).filter((one) => one.testIdentity === null);
    const added = lacks.length === 0 ? kit : { ...kit, lacks: lacks.map((one) => one.generation) };
    const kits = [...repository.kits, added];
    return change({ ...getRepository(), kits, claim: await withKits(repository, claim, kits) });
  }

  /** A proof that was begun before, or the same key under another name, does not bring it back. */
  function refuseRetired({ retiredKits = [] }: RepositoryRecord, kitId: string, recipient: string): void {
    if (!retiredKits.some((kit) => kit.id === kitId || kit.recipient === recipient)) return;
    throw new HoldfastError('wrong_state', 'This recovery kit is retired', { hint: 'Make a new one.' });
  }

  async function retireKit(kitId: string): Promise<RepositoryStatus> {
    const repository = getRepository();
    const { claim, retiredKits = [] } = repository;
    if (retiredKits.some((kit) => kit.id === kitId)) return repositoryStatus(repository);
    const kit = repository.kits.find((candidate) => candidate.id === kitId);
    if (!kit) throw new HoldfastError('not_found', 'This recovery kit is not one of this appliance');
    const kits = repository.kits.filter((other) => other !== kit);
    if (kits.length === 0 || !claim) {
      throw new HoldfastError('wrong_state', 'This is the only recovery kit', {
        hint: 'Make another one and prove it first: without a kit nobody opens the backups elsewhere.',
      });
    }
    const changed = await withKits(repository, claim, kits);
    const retired = { id: kit.id, recipient: kit.recipient, retiredAt: clock.now().toISOString() };
    await change({ ...getRepository(), kits, retiredKits: [...retiredKits, retired], claim: changed });
    return repositoryStatus(getRepository());
  }

  async function rekeyRepository(follows: number, withIdentity: boolean): Promise<RepositoryStatus> {
    const repository = getRepository();
    const { claim } = repository;
    if (!claim) throw new HoldfastError('wrong_state', 'This appliance has no backup repository yet');
    if (claim.generation !== follows) {
      throw new HoldfastError('conflict', 'The keys of the repository were changed meanwhile', {
        hint: 'Look which generation is in use now.',
      });
    }
    if (claim.generation >= MAX_GENERATIONS) {
      throw new HoldfastError('too_large', `A repository has at most ${MAX_GENERATIONS} generations of keys`);
    }
    const createdAt = clock.now();
    // Another one too: whoever has a retired kit and an old keyring object has the one of then, and must not get in by it.
    const test = claim.testIdentity === null && !withIdentity ? undefined : await generateAgeIdentity();
    const statement = await createKeysStatement({
      repositoryId: repository.repositoryId,
      kits: repository.kits.map(({ id, recipient }) => ({ id, recipient })),
      testRecipient: test?.recipient,
      chunking: claim.chunking,
      after: { generation: claim.generation, signingKeys: claim.signingKeys },
      createdAt,
    });
    const { generation, recipient, chunkIdSecret, chunking, signingKeys, keysObject } = claim;
    const { testIdentity, testRecipient } = claim;
    const before = {
      ...{ generation, recipient, chunkIdSecret, chunking, signingKeys, keysObject },
      ...{ testIdentity, testRecipient, createdAt: beginOf(claim) },
    };
    const next: RepositoryClaim = {
      ...claim,
      generation: statement.generation,
      recipient: statement.recipient,
      chunkIdSecret: statement.chunkIdSecret,
      createdAt: statement.createdAt,
      testIdentity: test?.identity ?? null,
      testRecipient: test?.recipient ?? null,
      keysObject: await storedKeysObject(statement, trustRootOf(repository)),
      earlier: [...(claim.earlier ?? []), before],
    };
    // Whoever recovers must know of it: the next base of the keyring is due.
    const now = getRepository();
    const publication = now.publication && { ...now.publication, stale: true };
    await change({ ...now, claim: next, publication });
    return repositoryStatus(getRepository());
  }

  async function claimRepository(args: Arguments): Promise<RepositoryStatus> {
    const repository = getRepository();
    if (repository.claim) return repositoryStatus(repository);
    if (repository.kits.length === 0) {
      throw new HoldfastError('wrong_state', 'No recovery kit was proven yet', {
        hint: 'Prove the recovery kit first: nothing is backed up that nobody could open.',
      });
    }
    const signingKey = createSigningKey();
    const test = flagArgument(args, 'writeOnly') ? undefined : await generateAgeIdentity();
    const statement = await createKeysStatement({
      repositoryId: repository.repositoryId,
      kits: repository.kits.map(({ id, recipient }) => ({ id, recipient })),
      testRecipient: test?.recipient,
      chunking: readChunking(args),
      signingKey,
      createdAt: clock.now(),
    });
    // From here on the repository's identity is only inside the keys object: writing needs the recipient alone.
    const claim: RepositoryClaim = {
      generation: statement.generation,
      recipient: statement.recipient,
      chunkIdSecret: statement.chunkIdSecret,
      chunking: statement.chunking,
      signingKeys: statement.signingKeys,
      signingPrivateKey: Buffer.from(signingKey.privateKey).toString('base64'),
      testIdentity: test?.identity ?? null,
      testRecipient: test?.recipient ?? null,
      keysObject: await storedKeysObject(statement, trustRootOf(repository)),
    };
    signingKey.privateKey.fill(0);
    await change({ ...getRepository(), claim });
    return repositoryStatus(getRepository());
  }

  return {
    prepareRepository: () =>
      store.exclusive(async () => {
        if (!store.keyring().repository) await change(newRepository());
        await store.settled();
        const { repositoryId, trustRoot } = getRepository();
        return { repositoryId, trustRoot: trustRoot.publicKey };
      }),

    async beginKit(args: Arguments) {
      getRepository();
      const kitId = randomUUID();
      return { kitId, challenge: await challenge(kitId, textArgument(args, 'recipient', 4200)) };
    },

    async challengeKit(args: Arguments) {
      const kitId = uuidArgument(args, 'kitId');
      const kit = getRepository().kits.find((candidate) => candidate.id === kitId);
      if (!kit) throw new HoldfastError('not_found', 'This recovery kit is not one of this appliance');
      return { challenge: await challenge(kitId, kit.recipient) };
    },

    proveKit: (args: Arguments) =>
      store.exclusive(async () => {
        const kitId = uuidArgument(args, 'kitId');
        const recipient = redeem(kitId, textArgument(args, 'response', 64));
        await addKit(kitId, recipient);
        return { id: kitId, recipient };
      }),

    retireKit: (args: Arguments) => store.exclusive(() => retireKit(uuidArgument(args, 'kitId'))),

    rekeyRepository: (args: Arguments) =>
      store.exclusive(() =>
        rekeyRepository(
          numberArgument(args, 'generation', { from: 1, to: MAX_GENERATIONS }),
          flagArgument(args, 'testIdentity'),
        ),
      ),

    claimRepository: (args: Arguments) => store.exclusive(() => claimRepository(args)),
  };
}

function newRepository(): RepositoryRecord {
  const root = createSigningKey();
  return {
    repositoryId: randomUUID(),
    trustRoot: {
      publicKey: Buffer.from(root.publicKey).toString('base64'),
      privateKey: Buffer.from(root.privateKey).toString('base64'),
    },
    kits: [],
    claim: null,
    lastHeadNumber: '0',
    publication: null,
  };
}

function readChunking(args: Arguments): ChunkingParameters {
  const given = args.chunking === undefined ? {} : objectArgument(args, 'chunking');
  const read = (name: keyof ChunkingParameters, from: number, to: number): number => {
    const value = given[name] ?? DEFAULT_CHUNKING[name];
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= from && value <= to)
      return value;
    throw new HoldfastError('invalid_input', `The chunking parameter ${name} must be from ${from} to ${to}`);
  };
  return {
    fileChunkBytes: read('fileChunkBytes', 4096, 8 * 1024 * 1024),
    relationChunkBytes: read('relationChunkBytes', 8192, 8 * 1024 * 1024),
    packBytes: read('packBytes', 64 * 1024, 64 * 1024 * 1024),
  };
}
