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
  /** Settles when the server has said that it is complete; rejects when it was not. */
  ended: Promise<BaseBackupEnd>;
}

/** A connection that speaks the replication protocol. */
export interface ReplicationConnection {
  /** Keeps the WAL from here on for as long as this connection lives. */
  reserveWal(): Promise<void>;
  startBaseBackup(): BaseBackup;
  /** Safe to call more than once. */
  close(): Promise<void>;
}

interface Message {
  fields?: (string | null)[];
  chunk?: Buffer;
}

/** The part of the driver's connection that is used; the driver's types leave it out. */
interface DriverConnection {
  query(text: string): void;
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
    startBaseBackup: () => startBaseBackup(client),
    close: () => (closing ??= client.end().catch(() => undefined)),
  };
}

const COMMAND = `BASE_BACKUP (LABEL 'holdfast', CHECKPOINT 'fast', WAL false, WAIT false, MANIFEST 'yes')`;

function startBaseBackup(client: pg.Client): BaseBackup {
  const archive = new PassThrough({ highWaterMark: 1024 * 1024 });
  const rows: string[][] = [];
  const manifest: Buffer[] = [];
  let part: 'none' | 'archive' | 'manifest' = 'none';
  let connection: DriverConnection | undefined;
  let failure: unknown;
  const end = Promise.withResolvers<BaseBackupEnd>();
  end.promise.catch(() => undefined); // the archive is destroyed with the same error
  const fail = (error: unknown) => {
    failure ??= explainReplicationError(error);
    archive.destroy(failure as Error);
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
  const ignore = () => undefined;
  const command = {
    submit(on: DriverConnection) {
      connection = on;
      on.query(COMMAND);
    },
    handleRowDescription: ignore,
    handleDataRow(message: Message) {
      rows.push((message.fields ?? []).map((field) => field ?? ''));
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
    handleCommandComplete: ignore,
    handleEmptyQuery: ignore,
    handlePortalSuspended: ignore,
    handleCopyInResponse: ignore,
    handleError: fail,
    handleReadyForQuery() {
      const [start, last] = [rows[0], rows.at(-1)];
      if (failure !== undefined) return;
      if (start === undefined || last === undefined || rows.length < 2 || part !== 'manifest') {
        fail(new HoldfastError('unavailable', 'PostgreSQL ended its base backup early'));
        return;
      }
      end.resolve({ startLsn: start[0] ?? '', endLsn: last[0] ?? '', timeline: Number(start[1]) });
      archive.end();
    },
  };
  client.once('end', () => fail(new HoldfastError('unavailable', 'The connection to PostgreSQL was lost')));
  client.query(command as unknown as pg.Submittable);
  return { archive, manifest: () => Buffer.concat(manifest), ended: end.promise };
}

function explainReplicationError(error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const state = error instanceof pg.DatabaseError ? error.code : undefined;
  if (state === '42501' || state === '28000') {
    return new HoldfastError('forbidden', 'The database role may not take a base backup', {
      hint: 'Give it the REPLICATION attribute and a pg_hba.conf line that lets it connect for replication.',
      detail: messageOf(error),
      cause: error,
    });
  }
  return new HoldfastError('unavailable', 'PostgreSQL did not deliver its base backup', {
    hint: 'It may have stopped. Look at its log, then take the snapshot again.',
    detail: messageOf(error),
    cause: error,
  });
}
