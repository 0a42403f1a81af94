/** The client of keyd. One connection, many requests at once; a lost connection is made anew by the next request. */
import { systemClock } from '../lib/clock.ts';
import { HoldfastError } from '../lib/errors.ts';
import type {
  DerivedKey,
  KeyClient,
  KeydRole,
  KeydStatus,
  KeyFacts,
  KeyringObjects,
  PreparedRepository,
  RepositoryStatus,
  SignedCheckpoint,
} from './key-client.ts';
import {
  type Connection,
  type KeydClientOptions,
  openConnection,
  readError,
  unavailable,
  type WireError,
} from './keyd/client-connection.ts';
import type { Operation } from './keyd/permissions.ts';
import type { BuiltObject, KitRecipient } from './keys-object.ts';
import { objectName } from './signed-object.ts';
import type { ObjectSignature, RepositoryReadKeys, RepositoryWriteKeys } from './repository-keys.ts';

const ANSWER_LIMIT_MS = 30_000;

/** What must not be asked a second time on its own: it would be used up, or mean something else. */
const ASKED_ONCE: ReadonlySet<Operation> = new Set<Operation>([
  'sign',
  'signReport',
  'lend',
  'take',
  'testIdentities',
  'proveKit',
  'renewAuditLog',
]);

/**
 * Connects and proves both sides to each other.
 *
 * @throws unavailable when keyd does not answer in time; unauthenticated or forbidden when the credential is not the present one.
 */
export async function connectKeyd(options: KeydClientOptions): Promise<KeyClient> {
  const clock = options.clock ?? systemClock;
  let connecting: Promise<Connection> | undefined;
  let newest: Connection | undefined;
  let closed = false;

  /** The connection in use, or a new one in the place of a dead one. All who ask at once get the same. */
  function live(): Promise<Connection> {
    if (closed) return Promise.reject(unavailable('The connection to the key service was closed'));
    if (newest?.alive === false) {
      newest = undefined;
      connecting = undefined;
    }
    connecting ??= openConnection(options, clock).then(
      (connection) => (newest = connection),
      (error: unknown) => {
        connecting = undefined;
        throw error;
      },
    );
    return connecting;
  }

  async function ask<T>(
    op: Operation,
    args: Record<string, unknown> = {},
    limitMs = ANSWER_LIMIT_MS,
  ): Promise<T> {
    const first = await live();
    try {
      return (await first.ask(op, args, limitMs)) as T;
    } catch (error) {
      // keyd went away with the question: what may be asked twice is asked again, of the one that is started in its place.
      if (first.alive || ASKED_ONCE.has(op)) throw error;
      return (await (await live()).ask(op, args, limitMs)) as T;
    }
  }

  await live();
  return {
    ...createMethods(options.role, ask),
    async close() {
      closed = true;
      (await connecting?.catch(() => undefined))?.close();
    },
  };
}

type Ask = <T>(op: Operation, args?: Record<string, unknown>, limitMs?: number) => Promise<T>;

function createMethods(role: KeydRole, ask: Ask): Omit<KeyClient, 'close'> {
  return {
    role,
    status: () => ask<KeydStatus>('status'),
    applianceKey: () => ask<KeyFacts>('applianceKey'),
    createWorkspaceKey: (workspaceId) => ask<KeyFacts>('createWorkspaceKey', { workspaceId }),
    workspaceKey: (workspaceId) => ask<KeyFacts>('workspaceKey', { workspaceId }),
    createSubjectKey: (workspaceId) => ask<KeyFacts>('createSubjectKey', { workspaceId }),
    monthlyKey: (workspaceId) => ask<KeyFacts>('monthlyKey', { workspaceId }),
    describeKey: (keyId) => ask<KeyFacts>('describeKey', { keyId }),
    async deriveKeys(requests) {
      return (await ask<WireDerived[]>('deriveKeys', { requests })).map(readDerived);
    },
    watch: (revision, waitMs) => ask<number>('watch', { revision, waitMs }, waitMs + ANSWER_LIMIT_MS),
    enableKey: (keyId) => ask<KeyFacts>('enableKey', { keyId }),
    disableKey: (keyId) => ask<KeyFacts>('disableKey', { keyId }),
    prepareRepository: () => ask<PreparedRepository>('prepareRepository'),
    beginKit: (recipient) => ask<{ kitId: string; challenge: string }>('beginKit', { recipient }),
    challengeKit: (kitId) => ask<{ challenge: string }>('challengeKit', { kitId }),
    proveKit: (kitId, response) => ask<KitRecipient>('proveKit', { kitId, response }),
    retireKit: (kitId) => ask<RepositoryStatus>('retireKit', { kitId }),
    rekeyRepository: (generation, options = {}) =>
      ask<RepositoryStatus>('rekeyRepository', { generation, ...options }),
    destroyTestIdentities: () => ask<RepositoryStatus>('destroyTestIdentities'),
    claimRepository: (options = {}) => ask<RepositoryStatus>('claimRepository', { ...options }),
    async repositoryKeys() {
      return readRepositoryKeys(await ask<WireRepositoryKeys>('repositoryKeys'));
    },
    async keysObject() {
      const object = await ask<{ name: string; bytes: string }>('keysObject');
      return { name: object.name, bytes: Buffer.from(object.bytes, 'base64') };
    },
    async keysObjects() {
      const objects = await ask<{ name: string; bytes: string }[]>('keysObjects');
      return objects.map(({ name, bytes }) => ({ name, bytes: Buffer.from(bytes, 'base64') }));
    },
    sign: (statement) => ask<ObjectSignature>('sign', { ...statement }),
    lastHeadNumber: () => ask<string>('lastHeadNumber'),
    keyringObjects: (present) => readKeyringObjects(ask, present),
    async lend(runId, secrets, options = {}) {
      await ask('lend', { runId, secrets: secrets === null ? null : JSON.stringify(secrets), ...options });
    },
    async take(runId) {
      return JSON.parse(await ask<string>('take', { runId })) as unknown;
    },
    async takeLiveKeys(runId) {
      await ask('takeLiveKeys', { runId });
    },
    testIdentities: (runId) => ask<string[]>('testIdentities', { runId }),
    signReport: (report) => ask<ObjectSignature>('signReport', { ...report }),
    signingCertificate: () => ask<string>('signingCertificate'),
    async auditHead() {
      const { root, at, ...head } = await ask<WireAuditHead>('auditHead');
      return { ...head, root: Buffer.from(root, 'base64'), at: at === null ? null : new Date(at) };
    },
    signCheckpoint: ({ after, size, root, proof }) =>
      ask<SignedCheckpoint>('signCheckpoint', {
        after,
        size,
        root: root.toString('base64'),
        proof: proof.map((hash) => hash.toString('base64')),
      }),
    async renewAuditLog() {
      await ask('renewAuditLog');
    },
  };
}

interface WireAuditHead {
  origin: string;
  size: number;
  root: string;
  at: string | null;
}

type WireDerived =
  | { derived: { versions: { version: number; key: string }[]; sealRefusal: string | null } }
  | { error: WireError };

function readDerived(item: WireDerived): DerivedKey | Error {
  if ('error' in item) return readError(item.error);
  return {
    versions: item.derived.versions.map(({ version, key }) => ({ version, key: Buffer.from(key, 'base64') })),
    sealRefusal: item.derived.sealRefusal,
  };
}

interface WireRepositoryKeys {
  repositoryId: string;
  trustRoot: string;
  generations: {
    generation: number;
    recipient: string;
    chunkIdSecret: string;
    chunking: RepositoryReadKeys['generations'][number]['chunking'];
    signingKeys: { id: string; publicKey: string }[];
  }[];
}

function readRepositoryKeys(wire: WireRepositoryKeys): RepositoryReadKeys {
  return {
    repositoryId: wire.repositoryId,
    trustRoot: Buffer.from(wire.trustRoot, 'base64'),
    generations: wire.generations.map((generation) => ({
      ...generation,
      identity: undefined,
      chunkIdSecret: Buffer.from(generation.chunkIdSecret, 'base64'),
      signingKeys: generation.signingKeys.map(({ id, publicKey }) => ({
        id,
        publicKey: Buffer.from(publicKey, 'base64'),
      })),
    })),
  };
}

async function readKeyringObjects(ask: Ask, present: readonly string[]): Promise<KeyringObjects> {
  const told = await ask<{ epoch: number; objects: { name: string; sizeBytes: number }[] }>(
    'keyringObjects',
    {
      present,
    },
  );
  const objects: BuiltObject[] = [];
  for (const { name, sizeBytes } of told.objects) {
    const bytes = Buffer.alloc(sizeBytes);
    let offset = 0;
    while (offset < sizeBytes) {
      const piece = Buffer.from(await ask<string>('readObject', { name, offset }), 'base64');
      if (piece.length === 0) break;
      offset += piece.copy(bytes, offset);
    }
    if (objectName(name.replace(/-[0-9a-f]{64}\.age$/, ''), bytes) !== name) {
      throw new HoldfastError('integrity_failure', 'The key service gave a keyring object that is not whole');
    }
    objects.push({ name, bytes });
  }
  return { epoch: told.epoch, objects };
}

/** The appliance's keys for writing to its repository: roles worker and run. @throws wrong_state before the claim. */
export async function openRepositoryWriteKeys(
  client: Pick<KeyClient, 'repositoryKeys' | 'sign' | 'lastHeadNumber'>,
): Promise<RepositoryWriteKeys> {
  return {
    ...(await client.repositoryKeys()),
    sign: (statement) => client.sign(statement),
    lastHeadNumber: () => client.lastHeadNumber(),
  };
}
