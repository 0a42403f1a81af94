/** The client of keyd. One connection, many requests at once; a lost connection is made anew by the next request. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { type Clock, systemClock } from '../lib/clock.ts';
import { ERROR_STATUS, type ErrorCode, HoldfastError } from '../lib/errors.ts';
import { shortPath } from '../lib/sockets.ts';
import type {
  DerivedKey,
  KeyClient,
  KeydRole,
  KeydStatus,
  KeyFacts,
  KeyringObjects,
  PreparedRepository,
  RepositoryStatus,
} from './key-client.ts';
import { readCredential } from './keyd/credentials.ts';
import type { Operation } from './keyd/permissions.ts';
import {
  createFrameOpener,
  createFrameReader,
  createFrameSealer,
  encodeFrame,
  handshakeProof,
  MAX_FRAME_BYTES,
  refused,
  sessionKeys,
} from './keyd/protocol.ts';
import type { BuiltObject, KitRecipient } from './keys-object.ts';
import { objectName } from './signed-object.ts';
import type { ObjectSignature, RepositoryReadKeys, RepositoryWriteKeys } from './repository-keys.ts';

const ANSWER_LIMIT_MS = 30_000;
/** keyd is started again within this time; requests meanwhile wait. */
const CONNECT_LIMIT_MS = 10_000;
const CONNECT_RETRY_MS = 50;
/** Below what keyd allows on a connection; more wait here. */
const MAX_REQUESTS_UNDER_WAY = 48;

export interface KeydClientOptions {
  socketPath: string;
  credentialFile: string;
  role: KeydRole;
  clock?: Clock;
  /** How long to go on trying to connect; 10 s unless said. */
  connectTimeoutMs?: number;
}

/** What must not be asked a second time on its own: it would be used up, or mean something else. */
const ASKED_ONCE: ReadonlySet<Operation> = new Set<Operation>([
  'sign',
  'signReport',
  'lend',
  'take',
  'testIdentity',
  'proveKit',
]);

interface Waiter {
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
  timer: NodeJS.Timeout;
}

interface Connection {
  ask(op: Operation, args: Record<string, unknown>, limitMs: number): Promise<unknown>;
  readonly alive: boolean;
  close(): void;
}

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
    claimRepository: (options = {}) => ask<RepositoryStatus>('claimRepository', { ...options }),
    async repositoryKeys() {
      return readRepositoryKeys(await ask<WireRepositoryKeys>('repositoryKeys'));
    },
    async keysObject() {
      const object = await ask<{ name: string; bytes: string }>('keysObject');
      return { name: object.name, bytes: Buffer.from(object.bytes, 'base64') };
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
    testIdentity: (runId) => ask<string>('testIdentity', { runId }),
    signReport: (report) => ask<ObjectSignature>('signReport', { ...report }),
  };
}

type WireDerived =
  | { derived: { versions: { version: number; key: string }[]; sealRefusal: string | null } }
  | { error: { code: string; message: string } };

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

async function openConnection(options: KeydClientOptions, clock: Clock): Promise<Connection> {
  const deadlineMs = clock.monotonicMs() + (options.connectTimeoutMs ?? CONNECT_LIMIT_MS);
  for (;;) {
    try {
      return await connectOnce(options, clock);
    } catch (error) {
      // keyd may be starting again, with the same credentials or, after a new start of all, with new ones.
      if (clock.monotonicMs() >= deadlineMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, CONNECT_RETRY_MS));
    }
  }
}

async function connectOnce(options: KeydClientOptions, clock: Clock): Promise<Connection> {
  const credential = await readCredential(options.credentialFile, options.role);
  const socket = connect(shortPath(options.socketPath));
  const frames = frameQueue(socket);
  try {
    const client = randomBytes(32);
    const hello = { version: 1, role: options.role, nonce: client.toString('base64') };
    socket.write(encodeFrame(Buffer.from(JSON.stringify(hello))));
    const reply = JSON.parse((await frames.next()).toString('utf8')) as { nonce?: string; proof?: string };
    const server = Buffer.from(String(reply.nonce), 'base64');
    const given = Buffer.from(String(reply.proof), 'base64');
    const wanted = handshakeProof('server', credential, options.role, { client, server });
    // A process that only took over the socket's path does not know the key, and learns nothing from us.
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
      throw refused('what answers on the socket is not our key service');
    }
    const proof = handshakeProof('client', credential, options.role, { client, server }).toString('base64');
    socket.write(encodeFrame(Buffer.from(JSON.stringify({ proof }))));
    const keys = sessionKeys(credential, { client, server });
    const wallMs = () => clock.now().getTime();
    const open = createFrameOpener(keys.server, wallMs);
    open(await frames.next());
    return keepConnection(socket, frames, { open, seal: createFrameSealer(keys.client, wallMs) });
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    credential.fill(0);
  }
}

interface FrameQueue {
  next(): Promise<Buffer>;
  /** From now on every frame goes here. */
  forward(to: (frame: Buffer) => void): void;
}

function frameQueue(socket: Socket): FrameQueue {
  const read = createFrameReader(() => MAX_FRAME_BYTES);
  const frames: Buffer[] = [];
  let waiting: PromiseWithResolvers<Buffer> | undefined;
  let ended: Error | undefined;
  let sink = (frame: Buffer): void => {
    if (waiting) {
      waiting.resolve(frame);
      waiting = undefined;
    } else frames.push(frame);
  };
  const end = (cause?: Error) => {
    ended ??= unavailable('The key service does not answer', cause);
    waiting?.reject(ended);
  };
  const timer = setTimeout(() => socket.destroy(), CONNECT_LIMIT_MS);
  socket.on('data', (data: Buffer) => {
    try {
      for (const frame of read(data)) sink(frame);
    } catch {
      socket.destroy();
    }
  });
  socket.on('error', end);
  socket.on('close', () => {
    clearTimeout(timer);
    end();
  });
  return {
    next() {
      const frame = frames.shift();
      if (frame) return Promise.resolve(frame);
      if (ended) return Promise.reject(ended);
      waiting = Promise.withResolvers<Buffer>();
      return waiting.promise;
    },
    forward(to) {
      clearTimeout(timer);
      for (const frame of frames.splice(0)) to(frame);
      sink = to;
    },
  };
}

function keepConnection(
  socket: Socket,
  frames: FrameQueue,
  codec: { open: (body: Buffer) => Buffer; seal: (content: Buffer) => Buffer },
): Connection {
  const waiters = new Map<number, Waiter>();
  const queued: (() => void)[] = [];
  let lastId = 0;
  let alive = true;

  function finish(id: number): Waiter | undefined {
    const waiter = waiters.get(id);
    waiters.delete(id);
    clearTimeout(waiter?.timer);
    if (alive && waiters.size < MAX_REQUESTS_UNDER_WAY) queued.shift()?.();
    return waiter;
  }

  frames.forward((frame) => {
    try {
      const answer = JSON.parse(codec.open(frame).toString('utf8')) as WireAnswer;
      const waiter = finish(answer.id);
      if ('error' in answer) waiter?.reject(readError(answer.error));
      else waiter?.resolve(answer.result);
    } catch {
      socket.destroy();
    }
  });
  socket.on('close', () => {
    alive = false;
    for (const send of queued.splice(0)) send();
    for (const id of [...waiters.keys()]) finish(id)?.reject(unavailable('The key service went away'));
  });
  // An idle connection must not keep a process from ending.
  socket.unref();

  return {
    get alive() {
      return alive;
    },
    ask(op, args, limitMs) {
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      const send = () => {
        const id = (lastId += 1);
        const timer = setTimeout(() => {
          finish(id)?.reject(unavailable('The key service took too long to answer'));
        }, limitMs);
        waiters.set(id, { resolve, reject, timer });
        socket.write(codec.seal(Buffer.from(JSON.stringify({ id, op, args }))));
      };
      if (waiters.size < MAX_REQUESTS_UNDER_WAY) send();
      else queued.push(send);
      return promise;
    },
    close: () => socket.destroy(),
  };
}

type WireAnswer = { id: number; result: unknown } | { id: number; error: WireError };

interface WireError {
  code: string;
  message: string;
  hint?: string;
  detail?: string;
}

function readError(error: WireError): HoldfastError {
  const code = Object.hasOwn(ERROR_STATUS, error.code) ? (error.code as ErrorCode) : 'internal';
  const { hint, detail } = error;
  return new HoldfastError(code, error.message, {
    ...(hint === undefined ? {} : { hint }),
    ...(detail === undefined ? {} : { detail }),
  });
}

function unavailable(message: string, cause?: unknown): HoldfastError {
  return new HoldfastError('unavailable', message, {
    hint: 'It is started again by itself; try again in a moment. If this stays, look into the log of keyd.',
    cause,
  });
}
