/**
 * Makes the data folder of a machine image ready for its services, then ends: run as root before any of them, at each start
 * and after a recovery. Idempotent, and safe to be cut off at any point.
 *
 * Each process has an account of its own (`MACHINE_ACCOUNTS`), and reaches only what it needs:
 * the keyring belongs to keyd alone, the cluster to PostgreSQL alone, certificates to the server, scratch to the runs; stored
 * files and catalogues to server and runs by a group that both are in.
 */
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { giveBackCertificate, hostPlaces, settleAtStart } from './appliance/host/index.ts';
import { createKeydCredentials, credentialPath } from './keys/index.ts';
import { findAccount, findGroupId, MACHINE_ACCOUNTS } from './lib/accounts.ts';
import { systemClock } from './lib/clock.ts';
import { loadConfig, type Config } from './lib/config.ts';
import { dataPaths, openDataFolder } from './lib/data-folder.ts';
import { HoldfastError, messageOf } from './lib/errors.ts';
import { settleOwner } from './lib/files.ts';
import { createLog } from './lib/log.ts';
import { APP_ROLE, BACKUP_ROLE, prepareCluster } from './lib/postgres/index.ts';
import { SOFTWARE_VERSION } from './lib/version.ts';

const config = loadConfig();
const log = createLog(config.logLevel, 'prepare');

try {
  await prepareMachine(config);
  log.info({ dataDir: config.dataDir, version: SOFTWARE_VERSION }, 'The data folder is prepared');
} catch (error) {
  const known = error instanceof HoldfastError ? { hint: error.hint, detail: error.detail } : {};
  log.fatal({ ...known, err: error }, messageOf(error));
  process.exitCode = 1;
}

async function prepareMachine(settings: Config): Promise<void> {
  if (settings.sharedGroup === undefined) {
    throw new HoldfastError('invalid_input', 'HOLDFAST_SHARED_GROUP is not set', {
      hint: 'The units of the machine image set it. Elsewhere, run `holdfast serve`.',
    });
  }
  const groupId = findGroupId(settings.sharedGroup);
  // A set-back that a power cut ended: which of the folders is the live one.
  const settled = await settleAtStart({
    ...{ dataDir: settings.dataDir, clock: systemClock, log },
    places: hostPlaces(),
  });
  if (settled?.state === 'failed') log.warn({ problem: settled.problem }, 'The last set-back failed');
  const folder = await openDataFolder(settings.dataDir, SOFTWARE_VERSION);
  try {
    // After a recovery, or one that failed.
    await giveBackCertificate(hostPlaces(), dataPaths(settings.dataDir).tls);
    await giveFolders(settings.dataDir, groupId);
    if (settings.databaseUrl === undefined) await giveCluster(settings.dataDir, groupId);
    await giveCredentials(dataPaths(settings.dataDir).run);
    if (settings.claimCodeFile !== undefined) await giveClaimCodeFile(settings.claimCodeFile);
  } finally {
    folder.lock.release();
  }
}

async function giveFolders(dataDir: string, groupId: number): Promise<void> {
  const paths = dataPaths(dataDir);
  const [keyd, server, worker] = [
    findAccount(MACHINE_ACCOUNTS.keyd),
    findAccount(MACHINE_ACCOUNTS.server),
    findAccount(MACHINE_ACCOUNTS.worker),
  ];
  const shared = { gid: groupId, directoryMode: 0o2770, fileMode: 0o660 };
  const own = { directoryMode: 0o700, fileMode: 0o600 };
  await settleOwner(paths.files, { uid: server.uid, ...shared });
  await settleOwner(paths.catalogue, { uid: worker.uid, ...shared });
  await settleOwner(paths.keyring, { ...keyd, ...own });
  await settleOwner(paths.tls, { ...server, ...own });
  await settleOwner(paths.kits, { ...server, ...own });
  await settleOwner(paths.requestLog, { ...server, ...own });
  await settleOwner(paths.passwords, { ...server, ...own });
  await settleOwner(paths.scratch, { ...worker, ...own });
  // The socket in it takes the folder's group, so that server and runs may reach it.
  await settleOwner(dirname(paths.keydSocket), {
    ...own,
    uid: keyd.uid,
    gid: groupId,
    directoryMode: 0o2750,
  });
  await settleOwner(dirname(paths.controlSocket), { ...server, ...own });
  for (const path of [paths.marker, paths.lock]) {
    await chown(path, server.uid, groupId);
    await chmod(path, 0o660);
  }
  // Sticky: the group may add what it needs (a reserve of room), and touch nothing of others.
  await chown(dataDir, 0, groupId);
  await chmod(dataDir, 0o1771);
}

async function giveCluster(dataDir: string, groupId: number): Promise<void> {
  const paths = dataPaths(dataDir);
  await prepareCluster({
    clusterDir: paths.postgres,
    socketDir: paths.databaseSocket,
    account: MACHINE_ACCOUNTS.postgres,
    socketGroupId: groupId,
    peers: [
      { account: MACHINE_ACCOUNTS.server, role: APP_ROLE },
      { account: MACHINE_ACCOUNTS.worker, role: APP_ROLE },
      { account: MACHINE_ACCOUNTS.worker, role: BACKUP_ROLE },
    ],
  });
}

/** Each role's credential for its own account; keyd reads all of them through its group. */
async function giveCredentials(runDirectory: string): Promise<void> {
  const keyd = findAccount(MACHINE_ACCOUNTS.keyd);
  const server = findAccount(MACHINE_ACCOUNTS.server);
  const worker = findAccount(MACHINE_ACCOUNTS.worker);
  await createKeydCredentials(runDirectory);
  const holders = { server, browse: server, worker, run: worker, console: { uid: 0 } } as const;
  for (const [role, { uid }] of Object.entries(holders)) {
    const path = credentialPath(runDirectory, role as keyof typeof holders);
    await chown(path, uid, keyd.gid);
    await chmod(path, 0o440);
  }
}

/** The folder belongs to root, so the server is given the file that it writes the code into. */
async function giveClaimCodeFile(path: string): Promise<void> {
  const server = findAccount(MACHINE_ACCOUNTS.server);
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  await writeFile(path, '', { mode: 0o600 });
  await chown(path, server.uid, server.gid);
  await chmod(path, 0o600);
}
