import { realpathSync, statfsSync } from 'node:fs';
import { relative } from 'node:path';
import { join } from 'node:path';
import { writeFileDurably } from '../files.ts';
import { HoldfastError } from '../errors.ts';

/** The role that owns the cluster: migrations, base backups, tests. */
export const ADMIN_ROLE = 'holdfast';

/** The role the server works as: no ownership, and only select and insert on the audit log. */
export const APP_ROLE = 'holdfast_app';

/** The role that takes snapshots: reads everything and copies the cluster, writes nothing. */
export const BACKUP_ROLE = 'holdfast_backup';

/** An account of the machine, and a role that it may connect as. */
export interface PeerRole {
  account: string;
  role: string;
}

/** Values as in postgresql.conf. */
export type PostgresSettings = Readonly<Record<string, string | number>>;

/**
 * Errors of statements are logged without the statement and its parameters: both may hold personal data.
 */
const SETTINGS: PostgresSettings = {
  listen_addresses: '',
  unix_socket_permissions: '0700',
  max_connections: 60,
  shared_buffers: '128MB',
  dynamic_shared_memory_type: 'posix',
  huge_pages: 'off',
  jit: 'off',
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  wal_level: 'replica',
  max_wal_senders: 5,
  max_replication_slots: 5,
  summarize_wal: 'on',
  max_wal_size: '1GB',
  min_wal_size: '80MB',
  checkpoint_timeout: '5min',
  log_destination: 'stderr',
  logging_collector: 'off',
  log_line_prefix: '%m [%p] %q%u@%d ',
  log_min_messages: 'warning',
  log_min_error_statement: 'panic',
  log_parameter_max_length_on_error: 0,
  log_error_verbosity: 'terse',
  log_checkpoints: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
  datestyle: 'iso, ymd',
  lc_messages: 'C',
  default_text_search_config: 'pg_catalog.simple',
};

interface ConfigurationParts {
  clusterDir: string;
  socketDir: string;
  /** Our user's name as PostgreSQL sees it. */
  peerName: string;
  /** Other accounts that may connect, each only as the roles named here. */
  peers?: readonly PeerRole[] | undefined;
  /** Replace or add to the settings above. */
  settings?: PostgresSettings | undefined;
}

/**
 * Writes postgresql.conf, pg_hba.conf and pg_ident.conf whole. They are ours: what a person changed in them does not stay.
 * Only the user that runs PostgreSQL may connect as any role, and `peers` as the roles they were given; over the socket.
 */
export async function writeConfiguration(parts: ConfigurationParts): Promise<void> {
  // Relative to the cluster, where PostgreSQL runs: a socket's absolute path may not be longer than 107 bytes.
  const socketDir = relative(realpathSync(parts.clusterDir), realpathSync(parts.socketDir)) || '.';
  if (Buffer.byteLength(socketDir) > 80 || socketDir.includes(',')) {
    throw new HoldfastError(
      'invalid_input',
      `The folder of PostgreSQL's socket is too far from its data: ${socketDir}`,
      {
        hint: 'Keep both in one data folder.',
      },
    );
  }
  const bound = { max_slot_wal_keep_size: slotBound(parts.clusterDir) };
  const settings = { ...SETTINGS, ...bound, unix_socket_directories: socketDir, ...parts.settings };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${quoteSetting(value)}`);
  const hba = `local all all peer map=${ADMIN_ROLE}\nlocal replication all peer map=${ADMIN_ROLE}\n`;
  const peers = [{ account: parts.peerName, role: 'all' }, ...(parts.peers ?? [])];
  const ident = peers
    .map(({ account, role }) => `${ADMIN_ROLE} "${account.replaceAll('"', '""')}" ${role}\n`)
    .join('');
  await writeFileDurably(join(parts.clusterDir, 'postgresql.conf'), `${lines.join('\n')}\n`);
  await writeFileDurably(join(parts.clusterDir, 'pg_hba.conf'), hba);
  await writeFileDurably(join(parts.clusterDir, 'pg_ident.conf'), ident);
}

/**
 * Whoever follows the log and is gone for long does not fill the disk: a fifth of it at most (1 to 32 GiB) is kept for that. The
 * appliance itself gives up earlier; this holds when nothing of it runs.
 */
function slotBound(clusterDir: string): string {
  const { blocks, bsize } = statfsSync(clusterDir);
  const mebibytes = Math.floor((blocks * bsize) / 5 / 1024 ** 2);
  return `${Math.min(32 * 1024, Math.max(1024, mebibytes))}MB`;
}

function quoteSetting(value: string | number): string {
  return `'${String(value).replaceAll("'", "''")}'`;
}
