import pg from 'pg';
import { clientConfig, explainDatabaseError, type DatabaseAddress } from '../db.ts';
import { shortDirectory } from '../sockets.ts';
import { ADMIN_ROLE, APP_ROLE, BACKUP_ROLE } from './settings.ts';
import { SOCKET_PORT } from './server.ts';

/** How to reach a database of a server of ours as one role. Holds in this process only: the path may be a short form of it. */
export function socketAddress(socketDir: string, role: string, database: string): DatabaseAddress {
  return { kind: 'socket', directory: shortDirectory(socketDir), port: SOCKET_PORT, user: role, database };
}

/**
 * Runs `work` with a connection of its own, which is closed whatever happens.
 *
 * @param name - Shown in pg_stat_activity.
 * @throws what `work` throws; HoldfastError `unavailable` when the database cannot be reached.
 */
export async function withClient<T>(
  address: DatabaseAddress,
  name: string,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = new pg.Client(clientConfig(address, name));
  client.on('error', () => undefined); // a lost connection fails the query that runs, which tells more
  try {
    await client.connect();
    return await work(client);
  } catch (error) {
    throw explainDatabaseError(error);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Creates a database unless it is there. `client` must be connected to another one, as the owner of the cluster. */
export async function ensureDatabase(client: pg.ClientBase, name: string): Promise<void> {
  const found = await client.query('select 1 from pg_database where datname = $1', [name]);
  if (found.rowCount === 0)
    await client.query(`create database ${pg.escapeIdentifier(name)} owner ${ADMIN_ROLE}`);
}

/** Creates the roles of server and snapshots. Safe to call at each start and by several processes at once. */
export async function ensureRoles(client: pg.ClientBase): Promise<void> {
  for (const [role, attribute] of [
    [APP_ROLE, 'noreplication'],
    [BACKUP_ROLE, 'replication'],
  ]) {
    await client.query(`
      do $$ begin
        create role ${role} login nosuperuser nocreatedb nocreaterole ${attribute};
      exception when duplicate_object or unique_violation then null;
      end $$`);
  }
  await client.query(`alter role ${APP_ROLE} set idle_in_transaction_session_timeout = '60s'`);
}

/**
 * Gives the server's role its rights on what the migrations made: rows may be read and written, the audit log only be read and
 * added to, and nothing may be created, altered or truncated. Called after each migration.
 */
export async function grantAppRights(client: pg.ClientBase): Promise<void> {
  await client.query('begin');
  try {
    await client.query(`
      revoke create on schema public from public;
      do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$;
      grant usage on schema public to ${APP_ROLE};
      revoke all on all tables in schema public from ${APP_ROLE};
      grant select, insert, update, delete on all tables in schema public to ${APP_ROLE};
      grant usage, select on all sequences in schema public to ${APP_ROLE};
      revoke update, delete on audit_entries, audit_leaves, audit_tree_nodes, audit_checkpoints,
        audit_certificates, audit_verifications from ${APP_ROLE};
      revoke insert, update, delete on audit_stubs from ${APP_ROLE};
      revoke insert, delete on audit_retention from ${APP_ROLE};
      revoke insert, update on audit_pending from ${APP_ROLE};
      revoke insert, update, delete on migrations from ${APP_ROLE}`);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  }
}

/** Gives the snapshots' role what copying a cluster takes (as `rightsError` lists it), in this database. */
export async function grantBackupRights(client: pg.ClientBase): Promise<void> {
  await client.query(`
    grant pg_read_all_data, pg_read_server_files to ${BACKUP_ROLE};
    grant execute on function pg_read_binary_file(text, bigint, bigint) to ${BACKUP_ROLE};
    grant execute on function pg_create_restore_point(text) to ${BACKUP_ROLE};
    grant execute on function pg_switch_wal() to ${BACKUP_ROLE}`);
}

/**
 * Makes a recovered cluster one of ours: with our owner's role, and our database under the name that we look for. A copy of an
 * outside cluster has neither.
 *
 * @param client - As the role that made the cluster, connected to a database other than these two.
 */
export async function adoptCluster(client: pg.ClientBase, database: string, name: string): Promise<void> {
  await client.query(`
    do $$ begin create role ${ADMIN_ROLE} login superuser; exception when duplicate_object then null; end $$`);
  if (database === name) return;
  await client.query(
    `alter database ${pg.escapeIdentifier(database)} rename to ${pg.escapeIdentifier(name)}`,
  );
}
