/** Which database the appliance uses, and making it ready: started, migrated, with rights as narrow as the work allows. */
import { mkdir } from 'node:fs/promises';
import type { Config } from './config.ts';
import { giveUpReserve, keepReserve } from './data-disk.ts';
import { dataPaths } from './data-folder.ts';
import { openDatabase, type DatabaseAddress } from './db.ts';
import { migrate, type MigrationReport } from './migrate.ts';
import {
  ADMIN_ROLE,
  APP_ROLE,
  BACKUP_ROLE,
  ensureDatabase,
  ensureRoles,
  grantAppRights,
  grantBackupRights,
  socketAddress,
  startPostgres,
  withClient,
  type PostgresServer,
} from './postgres/index.ts';

export const DATABASE_NAME = 'holdfast';

/** As the server works: rows only, the audit log only to be added to. With an outside database, as its URL says. */
export function appAddress(config: Pick<Config, 'dataDir' | 'databaseUrl'>): DatabaseAddress {
  return address(config, APP_ROLE);
}

/** As snapshots work: reads everything and copies the cluster. With an outside database, as its URL says. */
export function backupAddress(config: Pick<Config, 'dataDir' | 'databaseUrl'>): DatabaseAddress {
  return address(config, BACKUP_ROLE);
}

/** As the owner of the schema. With an outside database, as its URL says. */
function adminAddress(config: Pick<Config, 'dataDir' | 'databaseUrl'>): DatabaseAddress {
  return address(config, ADMIN_ROLE);
}

function address(config: Pick<Config, 'dataDir' | 'databaseUrl'>, role: string): DatabaseAddress {
  if (config.databaseUrl !== undefined) return { kind: 'url', url: config.databaseUrl };
  return socketAddress(dataPaths(config.dataDir).databaseSocket, role, DATABASE_NAME);
}

/** Starts the embedded server; undefined when an outside one is used. The caller holds the data folder's lock. */
export async function startDatabase(config: Config): Promise<PostgresServer | undefined> {
  if (config.databaseUrl !== undefined) return undefined;
  const paths = dataPaths(config.dataDir);
  await mkdir(paths.run, { recursive: true, mode: 0o711 });
  // A full disk is a common reason for it to have ended.
  await giveUpReserve(paths.reserve);
  const server = await startPostgres({
    clusterDir: paths.postgres,
    socketDir: paths.databaseSocket,
    logFile: paths.postgresLog,
    takeOver: true,
  });
  keepReserve(paths.reserve);
  return server;
}

/** Migrations and rights; safe to run by several processes at once. */
export async function prepareDatabase(config: Config): Promise<MigrationReport> {
  const embedded = config.databaseUrl === undefined;
  const admin = adminAddress(config);
  if (admin.kind === 'socket') {
    await withClient({ ...admin, database: 'postgres' }, 'holdfast prepare', async (client) => {
      await ensureDatabase(client, DATABASE_NAME);
      await ensureRoles(client);
    });
  }
  const db = openDatabase(admin, { name: 'holdfast migrate', max: 1 });
  try {
    const report = await migrate(db);
    if (embedded) {
      await withClient(admin, 'holdfast prepare', async (client) => {
        await grantAppRights(client);
        await grantBackupRights(client);
      });
    }
    return report;
  } finally {
    await db.destroy();
  }
}
