/**
 * The database as a source of a snapshot: a base backup, the write-ahead log up to one restore point, and what the tables
 * held at that instant. A server started on these files and recovered to the restore point holds exactly the rows that
 * `facts.tables` counts. Nothing is written to disk here, and writers wait only while the gate is closed (milliseconds).
 */
import { randomBytes } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { ClientBase } from 'pg';
import { extract, type Header } from 'tar-stream';
import { HoldfastError } from '../lib/errors.ts';
import type { DatabaseAddress } from '../lib/db.ts';
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
  type BaseBackup,
  type BaseBackupEnd,
  type ServerFacts,
  type TableFacts,
} from '../lib/postgres/index.ts';
import type { ChunkingParameters, FileEntry, SourceSection, SourceWriter } from './engine.ts';

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
}

export interface PostgresSourceOptions {
  /** As a role that may replicate and read the server's files; the owner of the embedded cluster. */
  address: DatabaseAddress;
  chunking: ChunkingParameters;
  /** Digest every table, not only count its rows: for full restore tests. */
  digests: boolean;
  now: () => Date;
  signal: AbortSignal;
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

/** A file as tar-stream hands it over. */
type TarEntry = Readable & { header: Header };

/** Tables and indexes with their forks and further parts; everything that PostgreSQL changes in place by the page. */
const RELATION = /^(?:base\/\d+|global)\/\d+(?:_(?:fsm|vm|init))?(?:\.\d+)?$/;

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
      const backup = await copyBaseBackup(replication.startBaseBackup(), writer, options);
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
  backup: BaseBackupEnd,
  options: PostgresSourceOptions,
): Promise<PostgresFacts> {
  options.signal.throwIfAborted();
  return withClient(options.address, 'holdfast-snapshot', async (reader) => {
    options.step?.('consistent point');
    const restorePointAt = options.now().toISOString();
    const point = await takeConsistentPoint(gate, reader, `holdfast_${randomBytes(8).toString('hex')}`);
    await options.readAtPoint?.(reader);
    options.step?.('table facts');
    const schemaVersion = await readSchemaVersion(reader);
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
      ...(schemaVersion === undefined ? {} : { schemaVersion }),
      digests: options.digests,
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

async function copyBaseBackup(
  backup: BaseBackup,
  writer: SourceWriter,
  options: PostgresSourceOptions,
): Promise<BaseBackupEnd> {
  const entries = extract();
  backup.archive.on('error', (error) => entries.destroy(error));
  backup.archive.pipe(entries);
  const small = createSmallFiles(writer);
  try {
    for await (const entry of entries as AsyncIterable<TarEntry>) {
      await copyEntry(entry, writer, small, options.chunking);
    }
    await small.settle();
  } catch (error) {
    backup.archive.destroy();
    throw await causeOf(backup, error);
  }
  const ended = await backup.ended;
  const manifest: FileEntry = { path: 'backup_manifest', type: 'file', mode: 0o600 };
  await writer.addFile(manifest, once(backup.manifest()), { chunkBytes: options.chunking.fileChunkBytes });
  return ended;
}

/** Where the server ended the backup, that says more than what it did to the archive; where we gave it up, our reason does. */
async function causeOf(backup: BaseBackup, error: unknown): Promise<unknown> {
  const ended: unknown = await backup.ended.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  const givenUp = ended instanceof HoldfastError && ended.code === 'cancelled';
  return ended === undefined || givenUp ? error : ended;
}

/** Most files of a cluster have a few pages; waiting for each to be stored would take longer than storing it. */
const SMALL_FILE_BYTES = 512 * 1024;
const SMALL_FILES_AT_ONCE = 16;

function createSmallFiles(writer: SourceWriter) {
  const waiting = new Set<Promise<void>>();
  let failure: Error | undefined;
  return {
    async add(
      entry: FileEntry,
      content: AsyncIterable<Uint8Array>,
      options: { chunkBytes: number },
    ): Promise<void> {
      const parts: Uint8Array[] = [];
      for await (const part of content) parts.push(part);
      const storing = Promise.resolve(writer.addFile(entry, once(Buffer.concat(parts)), options)).then(
        () => undefined,
        (error: unknown) => void (failure ??= error instanceof Error ? error : new Error(String(error))),
      );
      waiting.add(storing);
      void storing.then(() => waiting.delete(storing));
      if (waiting.size >= SMALL_FILES_AT_ONCE) await Promise.race(waiting);
      if (failure !== undefined) throw failure;
    },
    /** Resolves when all are stored. @throws the first failure */
    async settle(): Promise<void> {
      await Promise.all(waiting);
      if (failure !== undefined) throw failure;
    },
  };
}

async function copyEntry(
  entry: TarEntry,
  writer: SourceWriter,
  small: ReturnType<typeof createSmallFiles>,
  chunking: ChunkingParameters,
): Promise<void> {
  const { header } = entry;
  const path = header.name.replace(/^\.\//, '').replace(/\/$/, '');
  const common = {
    path,
    mode: header.mode & 0o7777,
    mtime: `${BigInt(header.mtime.getTime()) * 1_000_000n}`,
  };
  if (header.type === 'file') {
    const chunkBytes = RELATION.test(path) ? chunking.relationChunkBytes : chunking.fileChunkBytes;
    const into = header.size <= SMALL_FILE_BYTES ? small.add : writer.addFile;
    await into({ ...common, type: 'file' }, entry, { chunkBytes });
    return;
  }
  entry.resume();
  if (header.type !== 'directory') {
    throw new HoldfastError('wrong_state', `The database's folder holds something that is no file: ${path}`);
  }
  await writer.addEntry({ ...common, type: 'directory' });
}

async function* once(data: Buffer): AsyncGenerator<Buffer> {
  yield data;
}
