/** A keyd in the test's own process, behind a real socket, with clients of any role. */
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';
import {
  answerKitChallenge,
  connectKeyd,
  createKeydCredentials,
  credentialPath,
  generateAgeIdentity,
  type KeyClient,
  type KeydRole,
  openKeyringFile,
  readCredentials,
  rootKeyFile,
  rootKeyPath,
  startKeyd,
} from '../../server/keys/index.ts';
import { type Clock, systemClock } from '../../server/lib/clock.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';

export interface KeydPlace {
  directory: string;
  keyring: string;
  run: string;
  socketPath: string;
  refusals: string[];
  clock: MovedClock;
  connect(role: KeydRole, parts?: { socketPath?: string; clock?: Clock }): Promise<KeyClient>;
  /** Stops keyd and closes the keyring. */
  stop(): Promise<void>;
  /** Starts keyd on the same keyring again. */
  start(): Promise<void>;
}

/** The real clock, set forward or back. */
export interface MovedClock extends Clock {
  offsetMs: number;
}

export function makeMovedClock(): MovedClock {
  return {
    offsetMs: 0,
    now() {
      return new Date(systemClock.now().getTime() + this.offsetMs);
    },
    monotonicMs() {
      return systemClock.monotonicMs() + Math.max(0, this.offsetMs);
    },
  };
}

export async function makeKeydPlace(): Promise<KeydPlace> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-keyd-'));
  const keyring = join(directory, 'keyring');
  const run = join(directory, 'run');
  await mkdir(keyring, { mode: 0o700 });
  await mkdir(run, { mode: 0o711 });
  await createKeydCredentials(run);
  const clients: KeyClient[] = [];
  const refusals: string[] = [];
  const clock = makeMovedClock();
  const socketPath = dataPaths(directory).keydSocket;
  await mkdir(dirname(socketPath), { mode: 0o711 });
  let stopOnce: (() => Promise<void>) | undefined;

  const place: KeydPlace = {
    directory,
    keyring,
    run,
    socketPath,
    refusals,
    clock,
    async connect(role, parts = {}) {
      const client = await connectKeyd({
        socketPath: parts.socketPath ?? socketPath,
        credentialFile: credentialPath(run, role),
        role,
        ...(parts.clock ? { clock: parts.clock } : {}),
        connectTimeoutMs: 500,
      });
      clients.push(client);
      return client;
    },
    async start() {
      const file = await openKeyringFile({ directory: keyring, rootKey: rootKeyFile(rootKeyPath(keyring)) });
      const credentials = await readCredentials(run);
      const onRefused = (reason: string) => refusals.push(reason);
      const keyd = await startKeyd({
        socketPath,
        credentials,
        keyring: file,
        clock,
        directory: keyring,
        onRefused,
      });
      stopOnce = async () => {
        stopOnce = undefined;
        await keyd.close();
        await file.close();
      };
    },
    async stop() {
      await stopOnce?.();
    },
  };
  await place.start();
  onTestFinished(async () => {
    for (const client of clients) await client.close();
    await place.stop();
    await rm(directory, { recursive: true, force: true });
  });
  return place;
}

/** Claims the repository with a new kit. @returns the kit. */
export async function claimWithKit(server: KeyClient, options: { writeOnly?: boolean } = {}) {
  const pair = await generateAgeIdentity();
  const { repositoryId, trustRoot } = await server.prepareRepository();
  const { kitId, challenge } = await server.beginKit(pair.recipient);
  await server.proveKit(kitId, await answerKitChallenge(kitId, pair.identity, challenge));
  await server.claimRepository(options);
  return { id: kitId, ...pair, repositoryId, trustRoot: Buffer.from(trustRoot, 'base64') };
}

export const workspaceId = randomUUID();

/** A keyd with a kit and a repository. */
export async function makeClaimed(options: { writeOnly?: boolean } = {}) {
  const place = await makeKeydPlace();
  const server = await place.connect('server');
  const kit = await claimWithKit(server, options);
  return { place, server, kit, worker: await place.connect('worker') };
}
