/**
 * The database as a source of a snapshot: a base backup, the write-ahead log up to one restore point, and what the tables
 * held at that instant. A server started on these files and recovered to the restore point holds exactly the rows that
 * `facts.tables` counts. Nothing is written to disk here, and writers wait only while the gate is closed (milliseconds).
 */
import { randomBytes } from 'node:crypto';
import type { ClientBase } from 'pg';
import { HoldfastError } from '../../lib/errors.ts';
import type { DatabaseAddress } from '../../lib/db.ts';
import {
  openReplication,
  parseLsn,
  POSTGRES_MAJOR,
  readSchemaVersion,
  readServerFacts,
  readTableFacts,
  readWalSegment,
  switchWal,
  takeConsistentPoint,
  walFilesBetween,
  withClient,
  type ServerFacts,
  type TableFacts,
} from '../../lib/postgres/index.ts';
import type { ChunkingParameters, FileEntry, SourceSection, SourceWriter } from '../engine.ts';
import { copyCluster, type CopiedCluster } from './copy-cluster.ts';
import type { CopyNotes, LastCopy } from './last-copy.ts';

/** What a snapshot records of a database, beside its files. LSNs are `X/Y`. */
export interface PostgresFacts {
  systemId: string;
  major: number;
  timeline: number;
  segmentBytes: number;
  encoding: string;
  blockChecksums: boolean;
  database: string;
  /** The role that made the cluster. */
  superuser: string;
  extensions: string[];
  /** Newest migration in the schema; absent for a database that is not Holdfast's. */
  schemaVersion?: string;
  /** Newest migration that a program must know at least, to go on with it; not in snapshots from before it was noted. */
  schemaNeeds?: string;
  startLsn: string;
  /** Where the base backup itself is consistent. */
  backupEndLsn: string;
  /** Of the restore point. */
  endLsn: string;
  restorePoint: string;
  /** UTC, RFC 3339; when the gate was closed. */
  restorePointAt: string;
  gateClosedMs: number;
  tables: TableFacts[];
  digests: boolean;
  /** Where the copy began whose unchanged blocks were taken over; absent where all was read. */
  changedSince?: string;
}

export interface PostgresSourceOptions {
  /** As a role that may replicate and read the server's files; the owner of the embedded cluster. */
  address: DatabaseAddress;
  chunking: ChunkingParameters;
  /** Digest every table, not only count its rows: for full restore tests. */
  digests: boolean;
  now: () => Date;
  signal: AbortSignal;
  /** What the copy before this one stored: only what changed since is read, where PostgreSQL can tell. */
  last?: LastCopy | undefined;
  /** Takes down what this one stores. */
  notes?: CopyNotes;
  /** Told before each part. */
  step?: (name: string) => void;
  /**
   * Called right after the restore point, when whatever has to be at least as new as it (the keyring) may be read. An error
   * ends the snapshot.
   */
  atRestorePoint?: (facts: PostgresFacts) => Promise<void>;
  /**
   * Called with a connection that sees exactly the rows of the restore point, for what else a snapshot tells of them. An error
   * ends the snapshot.
   */
  readAtPoint?: (reader: ClientBase) => Promise<void>;
}

/**
 * Copies the database into a section.
 *
 * @param open - Opens the section; its facts are complete when `finish` is called.
 * @throws HoldfastError `forbidden` for a role with too few rights, `wrong_state` for tablespaces or another major,
 * `unavailable` when the server goes away, `cancelled`.
 */
export async function copyPostgres(
  open: (facts: Record<string, unknown>) => SourceWriter,
  options: PostgresSourceOptions,
): Promise<SourceSection> {
  const { address, signal } = options;
  const replication = await openReplication(address);
  const stop = () => void replication.close();
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await withClient(address, 'holdfast-snapshot', async (client) => {
      const server = await readServerFacts(client);
      refuseUnsupported(server);
      signal.throwIfAborted();
      await replication.reserveWal();
      const facts: Record<string, unknown> = {};
      const writer = open(facts);
      options.step?.('base backup');
      const backup = await copyCluster({ client, replication, writer }, options);
      Object.assign(facts, await describePoint(client, server, backup, options));
      await options.atRestorePoint?.(facts as unknown as PostgresFacts);
      options.step?.('write-ahead log');
      await copyWal(client, facts as unknown as PostgresFacts, writer, options);
      return await writer.finish();
    });
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new HoldfastError('cancelled', 'The copy of the database was cancelled', { cause: error });
  } finally {
    signal.removeEventListener('abort', stop);
    await replication.close();
  }
}

/** Names one instant, and reads what the tables hold at it. */
async function describePoint(
  gate: ClientBase,
  server: ServerFacts,
  backup: CopiedCluster,
  options: PostgresSourceOptions,
): Promise<PostgresFacts> {
  options.signal.throwIfAborted();
  return withClient(options.address, 'holdfast-snapshot', async (reader) => {
    options.step?.('consistent point');
    const restorePointAt = options.now().toISOString();
    const point = await takeConsistentPoint(gate, reader, `holdfast_${randomBytes(8).toString('hex')}`);
    await options.readAtPoint?.(reader);
    options.step?.('table facts');
    const schema = await readSchemaVersion(reader);
    const { systemId, major, segmentBytes, encoding, blockChecksums, database, superuser, extensions } =
      server;
    return {
      ...{ systemId, major, segmentBytes, encoding, blockChecksums, database, superuser, extensions },
      timeline: backup.timeline,
      startLsn: backup.startLsn,
      backupEndLsn: backup.endLsn,
      endLsn: point.lsn,
      restorePoint: point.restorePoint,
      restorePointAt,
      gateClosedMs: Math.round(point.gateClosedMs * 10) / 10,
      ...schema,
      digests: options.digests,
      ...(backup.changedSince === undefined ? {} : { changedSince: backup.changedSince }),
      tables: await readTableFacts(reader, options),
    };
  });
}

/** Stores the segments from the start of the base backup to the restore point, which the replication slot has kept. */
async function copyWal(
  client: ClientBase,
  facts: PostgresFacts,
  writer: SourceWriter,
  options: PostgresSourceOptions,
): Promise<void> {
  const { segmentBytes, timeline } = facts;
  await switchWal(client);
  const [start, end] = [parseLsn(facts.startLsn), parseLsn(facts.endLsn)];
  for (const name of walFilesBetween(timeline, start, end, BigInt(segmentBytes))) {
    options.signal.throwIfAborted();
    const entry: FileEntry = { path: `pg_wal/${name}`, type: 'file', mode: 0o600 };
    const content = readWalSegment(client, name, { bytes: segmentBytes, end });
    await writer.addFile(entry, content, { chunkBytes: options.chunking.fileChunkBytes });
  }
}

/** The facts of a section that `copyPostgres` made. @throws HoldfastError `integrity_failure` when they are not there. */
export function postgresFacts(section: SourceSection): PostgresFacts {
  const facts = section.facts as Partial<PostgresFacts>;
  if (section.kind !== 'postgres' || typeof facts.restorePoint !== 'string' || !Array.isArray(facts.tables)) {
    throw new HoldfastError('integrity_failure', `The section ${section.name} does not describe a database`);
  }
  return facts as PostgresFacts;
}

function refuseUnsupported(server: ServerFacts): void {
  if (server.tablespaces.length > 0) {
    throw new HoldfastError(
      'wrong_state',
      `The database uses tablespaces (${server.tablespaces.join(', ')}), which are not backed up`,
      { hint: 'Move their tables to the default tablespace and drop them, then take the snapshot again.' },
    );
  }
  if (server.major !== POSTGRES_MAJOR) {
    throw new HoldfastError(
      'wrong_state',
      `The database is PostgreSQL ${server.major}; its copies could not be started here`,
      { hint: `Use PostgreSQL ${POSTGRES_MAJOR}.` },
    );
  }
}
