/** keyd: the keyring behind a unix socket. Started by `server/keyd.ts`; in tests, within the test's own process. */
import { chmod, readFile, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import type { Clock } from '../../lib/clock.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { PRIVATE_FILE_MODE } from '../../lib/files.ts';
import { shortPath } from '../../lib/sockets.ts';
import { repositoryStatus, kitOperations } from './kit-operations.ts';
import type { KeydRole, KeydStatus } from '../key-client.ts';
import type { Arguments } from './arguments.ts';
import { type Peer, serveConnection } from './connection.ts';
import { auditOperations } from './audit-operations.ts';
import { keyOperations } from './key-operations.ts';
import { identityOperations } from './identity-operations.ts';
import { type Grants, lendOperations } from './lent-secrets.ts';
import { type Operation, rolesFor, SCRATCH_OPERATIONS } from './permissions.ts';
import type { Request } from './protocol.ts';
import { repositoryOperations } from './repository-operations.ts';
import { createKeyringStore, type KeyringSource } from './store.ts';

const MAX_CONNECTIONS = 64;

interface KeydOptions {
  socketPath: string;
  credentials: ReadonlyMap<KeydRole, Buffer>;
  keyring: KeyringSource;
  clock: Clock;
  /** Where the keyring's files are; undefined for a scratch keyd, which only opens what it was given. */
  directory: string | undefined;
  /** Told of each connection that was refused, and why. */
  onRefused: (reason: string) => void;
}

export interface Keyd {
  /** Ends all connections and takes no more. The keyring stays open. */
  close(): Promise<void>;
}

/** Listens. @throws unavailable when the socket cannot be made. */
export async function startKeyd(options: KeydOptions): Promise<Keyd> {
  const sockets = new Set<Socket>();
  const store = createKeyringStore(options.keyring);
  const handle = createHandler(options, store);
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    const { credentials, clock, onRefused } = options;
    serveConnection({ socket, credentials, clock, onRefused, handle });
  });
  server.maxConnections = MAX_CONNECTIONS;
  // The lock on the keyring is held by now, so a socket that is there was left by a keyd that is gone.
  await rm(options.socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new HoldfastError('unavailable', 'The socket of the key service cannot be made', { cause })),
    );
    server.listen(shortPath(options.socketPath), resolve);
  });
  await chmod(options.socketPath, PRIVATE_FILE_MODE);
  return {
    async close() {
      store.releaseWaiters();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

type Handler = (args: Arguments, peer: Peer) => Promise<unknown>;

function createHandler(
  options: KeydOptions,
  store: ReturnType<typeof createKeyringStore>,
): (request: Request, peer: Peer) => Promise<unknown> {
  const { clock, directory } = options;
  const keys = keyOperations({ store, clock });
  const holders = new Set<Grants>();
  const lending = lendOperations({ store, clock, holders });
  const operations: Partial<Record<Operation, Handler>> = {
    status: () => readStatus(store),
    ...keys,
    deriveKeys: (args, peer) => {
      requireGrant(peer, directory === undefined);
      return keys.deriveKeys(args);
    },
    ...kitOperations({ store, clock }),
    ...identityOperations({ store, clock, holders }),
    ...repositoryOperations({ store, clock, directory: directory ?? '' }),
    ...auditOperations({ store, clock }),
    lend: (args, peer) => lending.lend(args, peer.role),
    take: (args, peer) => lending.take(args, peer.grants),
    takeLiveKeys: (args, peer) => lending.takeLiveKeys(args, peer.grants),
    testIdentities: (args, peer) => lending.testIdentities(args, peer.grants),
  };
  return async (request, peer) => {
    const roles = rolesFor(request.op);
    const operation = operations[request.op as Operation];
    const here = directory !== undefined || SCRATCH_OPERATIONS.includes(request.op as Operation);
    if (!roles || !operation || !here) {
      throw new HoldfastError('invalid_input', 'The key service does not know this request', {
        detail: request.op,
      });
    }
    if (!roles.includes(peer.role)) {
      throw new HoldfastError('forbidden', `The role ${peer.role} may not do this`, { detail: request.op });
    }
    return operation(request.args, peer);
  };
}

/** A run derives keys only from a scratch keyring, or when the server lent it that right. */
function requireGrant(peer: Peer, scratch: boolean): void {
  if (peer.role !== 'run' || scratch || peer.grants.liveKeys) return;
  throw new HoldfastError('forbidden', 'This run was not given the right to use keys');
}

async function readStatus(store: ReturnType<typeof createKeyringStore>): Promise<KeydStatus> {
  const keyring = store.keyring();
  return {
    revision: keyring.revision,
    keyCount: keyring.keys.size,
    coreDumpsOff: await coreDumpsAreOff(),
    notices: [...store.notices],
    repository: repositoryStatus(keyring.repository),
  };
}

/** Linux: the soft limit of this process is zero. Elsewhere unknown, so false. */
async function coreDumpsAreOff(): Promise<boolean> {
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  return /^Max core file size\s+0\s/m.test(limits);
}
