/**
 * PostgreSQL's base backup through the replication protocol ("Streaming Replication Protocol", BASE_BACKUP): the server's files
 * as one tar stream, while it goes on working. Nothing is written to disk here; a slow reader slows the server's sending.
 */
import { PassThrough, type Readable } from 'node:stream';
import pg from 'pg';
import { clientConfig, type DatabaseAddress } from '../db.ts';
import { HoldfastError, messageOf } from '../errors.ts';

/** What the server said before the files and after them. */
export interface BaseBackupEnd {
  startLsn: string;
  endLsn: string;
  timeline: number;
}

export interface BaseBackup {
  /** One tar archive. Destroying it ends the backup. */
  archive: Readable;
  /** PostgreSQL's own manifest of the archive; complete when `archive` has ended. */
  manifest: () => Buffer;
  /** Settles before the first file; rejects when the server refuses. */
  started: Promise<Pick<BaseBackupEnd, 'startLsn' | 'timeline'>>;
  /** Settles when the server has said that it is complete; rejects when it was not. */
  ended: Promise<BaseBackupEnd>;
}

/** A connection that speaks the replication protocol. */
export interface ReplicationConnection {
  /** Keeps the WAL from here on for as long as this connection lives. */
  reserveWal(): Promise<void>;
  /**
   * Tells the server which base backup the next one goes on from ("UPLOAD_MANIFEST").
   *
   * @throws ChangesUnknown
   */
  uploadManifest(manifest: Buffer): Promise<void>;
  /**
   * @param kind `changed`: of relations only what changed since the backup whose manifest was uploaded, as `INCREMENTAL.*` files where that is
   * less than all. Fails with `ChangesUnknown`, before its first file, when the server cannot tell that.
   */
  startBaseBackup(kind?: 'whole' | 'changed'): BaseBackup;
  /** Safe to call more than once. */
  close(): Promise<void>;
}

/** The server has no summaries of its log that reach back to that backup, or it is not its own. Nothing was sent. */
export class ChangesUnknown extends HoldfastError {
  constructor(cause: unknown) {
    super('wrong_state', 'PostgreSQL cannot tell what changed since the base backup before', {
      detail: messageOf(cause),
      cause,
    });
  }
}

interface Message {
  fields?: (string | null)[];
  chunk?: Buffer;
}

/** The part of the driver's connection that is used; the driver's types leave it out. */
interface DriverConnection {
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  stream: { pause(): void; resume(): void };
}

/** @throws HoldfastError `forbidden` when the role may not replicate, `unavailable` when the server cannot be reached. */
export async function openReplication(address: DatabaseAddress): Promise<ReplicationConnection> {
  const config: pg.ClientConfig & { replication: string } = {
    ...clientConfig(address, 'holdfast-snapshot'),
    replication: 'database',
  };
  const client = new pg.Client(config);
  client.on('error', () => undefined); // the command that runs is told, too
  try {
    await client.connect();
  } catch (error) {
    throw explainReplicationError(error);
  }
  let closing: Promise<void> | undefined;
  return {
    async reserveWal() {
      const name = `holdfast_${process.pid}_${process.hrtime.bigint()}`;
      try {
        await client.query(`CREATE_REPLICATION_SLOT ${name} TEMPORARY PHYSICAL RESERVE_WAL`);
      } catch (error) {
        throw explainReplicationError(error);
      }
    },
    uploadManifest: (manifest) => uploadManifest(client, manifest),
    startBaseBackup: (kind = 'whole') => startBaseBackup(client, kind),
    close: () => (closing ??= client.end().catch(() => undefined)),
  };
}

const OPTIONS = `LABEL 'holdfast', CHECKPOINT 'fast', WAL false, WAIT false, MANIFEST 'yes'`;
const COMMANDS = {
  whole: `BASE_BACKUP (${OPTIONS})`,
  changed: `BASE_BACKUP (${OPTIONS}, INCREMENTAL true)`,
} as const;

/** Bytes of a manifest in one message. */
const UPLOAD_BYTES = 64 * 1024;

const ignore = () => undefined;
/** What a command does with messages that it has no use for. */
const IGNORED = {
  handleRowDescription: ignore,
  handleDataRow: ignore,
  handleCopyData: ignore,
  handleCopyInResponse: ignore,
  handleCommandComplete: ignore,
  handleEmptyQuery: ignore,
  handlePortalSuspended: ignore,
};

function uploadManifest(client: pg.Client, manifest: Buffer): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  let failure: unknown;
  const lost = () => {
    reject(new HoldfastError('unavailable', 'The connection to PostgreSQL was lost'));
  };
  const command = {
    ...IGNORED,
    submit(on: DriverConnection) {
      on.query('UPLOAD_MANIFEST');
    },
    handleCopyInResponse(on: DriverConnection) {
      for (let at = 0; at < manifest.length; at += UPLOAD_BYTES)
        on.sendCopyFromChunk(manifest.subarray(at, at + UPLOAD_BYTES));
      on.endCopyFrom();
    },
    handleError(error: unknown) {
      failure ??= explainReplicationError(error, 'changed');
    },
    handleReadyForQuery() {
      client.off('end', lost);
      if (failure === undefined) resolve(undefined);
      else reject(failure);
    },
  };
  client.once('end', lost);
  client.query(command as unknown as pg.Submittable);
  return promise;
}

function startBaseBackup(client: pg.Client, kind: keyof typeof COMMANDS): BaseBackup {
  const archive = new PassThrough({ highWaterMark: 1024 * 1024 });
  const rows: string[][] = [];
  const manifest: Buffer[] = [];
  let part: 'none' | 'archive' | 'manifest' = 'none';
  let connection: DriverConnection | undefined;
  let failure: unknown;
  const start = Promise.withResolvers<Pick<BaseBackupEnd, 'startLsn' | 'timeline'>>();
  start.promise.catch(() => undefined);
  const end = Promise.withResolvers<BaseBackupEnd>();
  end.promise.catch(() => undefined); // the archive is destroyed with the same error
  const fail = (error: unknown) => {
    failure ??= explainReplicationError(error, kind);
    archive.destroy(failure as Error);
    start.reject(failure);
    end.reject(failure);
  };
  archive.once('close', () => {
    // The reader gave up: nothing stops a base backup but the end of its connection.
    if (!archive.writableFinished && failure === undefined) {
      fail(new HoldfastError('cancelled', 'The base backup was given up'));
      void client.end().catch(() => undefined);
      connection?.stream.resume();
    }
  });
  let paused = false;
  const writeArchive = (data: Buffer) => {
    if (archive.destroyed || archive.write(data) || paused) return;
    paused = true;
    connection?.stream.pause();
    archive.once('drain', () => {
      paused = false;
      connection?.stream.resume();
    });
  };
  const command = {
    ...IGNORED,
    submit(on: DriverConnection) {
      connection = on;
      on.query(COMMANDS[kind]);
    },
    handleDataRow(message: Message) {
      rows.push((message.fields ?? []).map((field) => field ?? ''));
      if (rows.length === 1) start.resolve(factsOf(rows[0]));
    },
    handleCopyData(message: Message) {
      const data = message.chunk ?? Buffer.alloc(0);
      const kind = String.fromCharCode(data[0] ?? 0);
      if (kind === 'n') part = 'archive';
      else if (kind === 'm') part = 'manifest';
      // Copied: the driver uses its buffer again for the next message.
      else if (kind === 'd' && part === 'manifest') manifest.push(Buffer.from(data.subarray(1)));
      else if (kind === 'd' && part === 'archive') writeArchive(Buffer.from(data.subarray(1)));
    },
    handleError: fail,
    handleReadyForQuery() {
      const last = rows.at(-1);
      if (failure !== undefined) return;
      if (last === undefined || rows.length < 2 || part !== 'manifest') {
        fail(new HoldfastError('unavailable', 'PostgreSQL ended its base backup early'));
        return;
      }
      end.resolve({ ...factsOf(rows[0]), endLsn: last[0] ?? '' });
      archive.end();
    },
  };
  client.once('end', () => fail(new HoldfastError('unavailable', 'The connection to PostgreSQL was lost')));
  client.query(command as unknown as pg.Submittable);
  return {
    ...{ archive, started: start.promise, ended: end.promise },
    manifest: () => Buffer.concat(manifest),
  };
}

function factsOf(row: readonly string[] | undefined): Pick<BaseBackupEnd, 'startLsn' | 'timeline'> {
  return { startLsn: row?.[0] ?? '', timeline: Number(row?.[1]) };
}

function explainReplicationError(error: unknown, kind: keyof typeof COMMANDS = 'whole'): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const state = error instanceof pg.DatabaseError ? error.code : undefined;
  if (state === '42501' || state === '28000') {
    return new HoldfastError('forbidden', 'The database role may not take a base backup', {
      hint: 'Give it the REPLICATION attribute and a pg_hba.conf line that lets it connect for replication.',
      detail: messageOf(error),
      cause: error,
    });
  }
  // "Not in prerequisite state", and what it says of a manifest that it cannot use.
  if (kind === 'changed' && (state === '55000' || state === 'XX000')) return new ChangesUnknown(error);
  return new HoldfastError('unavailable', 'PostgreSQL did not deliver its base backup', {
    hint: 'It may have stopped. Look at its log, then take the snapshot again.',
    detail: messageOf(error),
    cause: error,
  });
}
