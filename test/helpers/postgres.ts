/**
 * PostgreSQL for tests: one server for the whole run (`setup` is vitest's global setup), one database migrated once, and a
 * clone of it for whoever asks, which takes some 50 ms.
 */
import { randomBytes } from 'node:crypto';
import { chmod, chown, cp, mkdtemp, readdir, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inject } from 'vitest';
import type { TestProject } from 'vitest/node';
import { openDatabase, type Database, type DatabaseAddress } from '../../server/lib/db.ts';
import { migrate } from '../../server/lib/migrate.ts';
import {
  ADMIN_ROLE,
  APP_ROLE,
  ensureDatabase,
  ensureRoles,
  grantAppRights,
  socketAddress,
  startPostgres,
  withClient,
} from '../../server/lib/postgres/index.ts';
import { quickTmpdir } from './memory-folder.ts';

declare module 'vitest' {
  interface ProvidedContext {
    postgresSocketDir: string;
  }
}

const TEMPLATE = 'holdfast_template';

/** Durability costs time and proves nothing here; tests of durability start servers of their own. */
const FAST = {
  ...{ fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: 200 },
  // Every test's appliance has a slot that keeps its log, and copies the cluster beside others.
  ...{ max_replication_slots: 100, max_wal_senders: 100 },
};

/** Vitest's global setup. @returns its teardown. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const [folder, inMemory] = await Promise.all([makeFolder(tmpdir()), makeFolder(quickTmpdir())]);
  const socketDir = join(folder, 'run', 'pg');
  const server = await startPostgres({
    clusterDir: join(inMemory, 'postgres'),
    socketDir,
    logFile: join(folder, 'postgres.log'),
    settings: FAST,
    prepare: (clusterDir) => keepLogIn(join(folder, 'wal'), clusterDir),
  });
  await makeTemplate(socketDir);
  project.provide('postgresSocketDir', socketDir);
  return async () => {
    await server.stop();
    await Promise.all([folder, inMemory].map((made) => rm(made, { recursive: true, force: true })));
  };
}

async function makeFolder(parent: string): Promise<string> {
  const folder = await mkdtemp(join(parent, 'holdfast-test-postgres-'));
  await chmod(folder, 0o711);
  return folder;
}

/** The log grows through the whole run, for the slots keep it: that is for the disk. */
async function keepLogIn(directory: string, clusterDir: string): Promise<void> {
  const log = join(clusterDir, 'pg_wal');
  const { uid, gid } = await stat(log);
  await cp(log, directory, { recursive: true });
  for (const name of ['.', ...(await readdir(directory, { recursive: true }))])
    await chown(join(directory, name), uid, gid);
  await rm(log, { recursive: true });
  await symlink(directory, log);
}

async function makeTemplate(socketDir: string): Promise<void> {
  await withClient(socketAddress(socketDir, ADMIN_ROLE, 'postgres'), 'test', async (client) => {
    await ensureDatabase(client, TEMPLATE);
    await ensureRoles(client);
  });
  const address = socketAddress(socketDir, ADMIN_ROLE, TEMPLATE);
  const db = openDatabase(address, { name: 'test', max: 1 });
  await migrate(db);
  await db.destroy();
  await withClient(address, 'test', grantAppRights);
}

export interface TestDatabase {
  /** As the server works: no rights on the schema, the audit log only to be added to. */
  db: Database;
  address: DatabaseAddress;
  /** As the owner of everything. */
  adminAddress: DatabaseAddress;
  name: string;
  /** Closes `db` and drops the database, whoever is still connected. */
  drop(): Promise<void>;
}

/** A migrated database of its own. Call `drop` at the end. */
export function createTestDatabase(): Promise<TestDatabase> {
  return cloneDatabase(TEMPLATE);
}

/** A database without any table. */
export function createEmptyDatabase(): Promise<TestDatabase> {
  return cloneDatabase('template0');
}

async function cloneDatabase(template: string): Promise<TestDatabase> {
  const socketDir = inject('postgresSocketDir');
  const name = `test_${randomBytes(8).toString('hex')}`;
  const maintenance = socketAddress(socketDir, ADMIN_ROLE, 'postgres');
  await withClient(maintenance, 'test', (client) =>
    client.query(`create database ${name} template ${template} strategy file_copy`),
  );
  const address = socketAddress(socketDir, APP_ROLE, name);
  const db = openDatabase(address, { name: 'test', max: 5 });
  return {
    db,
    address,
    adminAddress: socketAddress(socketDir, ADMIN_ROLE, name),
    name,
    async drop() {
      await db.destroy();
      await withClient(maintenance, 'test', (client) => client.query(`drop database ${name} with (force)`));
    },
  };
}
