/** A migrated PostgreSQL with the product's own settings in a folder, kept from one start to the next. */
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { openDatabase, type Database } from '../../../server/lib/db.ts';
import { migrate } from '../../../server/lib/migrate.ts';
import {
  ADMIN_ROLE,
  APP_ROLE,
  ensureDatabase,
  ensureRoles,
  grantAppRights,
  socketAddress,
  startPostgres,
  withClient,
} from '../../../server/lib/postgres/index.ts';

const NAME = 'holdfast';

export interface LogPlace {
  folder: string;
  /** As the server connects. */
  db: Database;
  /** As the owner of everything, triggers off. */
  asSuperuser(statement: string): Promise<Record<string, unknown>[]>;
  close(): Promise<void>;
}

export async function openLogPlace(folder: string): Promise<LogPlace> {
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o711);
  const socketDir = join(folder, 'run', 'pg');
  const server = await startPostgres({
    clusterDir: join(folder, 'postgres'),
    socketDir,
    logFile: join(folder, 'postgres.log'),
  });
  await withClient(socketAddress(socketDir, ADMIN_ROLE, 'postgres'), 'bench', async (client) => {
    await ensureDatabase(client, NAME);
    await ensureRoles(client);
  });
  const admin = socketAddress(socketDir, ADMIN_ROLE, NAME);
  const owner = openDatabase(admin, { name: 'bench', max: 1 });
  await migrate(owner);
  await owner.destroy();
  await withClient(admin, 'bench', grantAppRights);
  const db = openDatabase(socketAddress(socketDir, APP_ROLE, NAME), { name: 'bench', max: 24 });
  return {
    folder,
    db,
    asSuperuser: (statement) =>
      withClient(admin, 'bench', async (client) => {
        await client.query("set session_replication_role = 'replica'");
        await client.query("set maintenance_work_mem = '1GB'");
        const { rows } = await client.query<Record<string, unknown>>(statement);
        return rows;
      }),
    async close() {
      await db.destroy();
      await server.stop();
    },
  };
}
