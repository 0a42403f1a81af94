/**
 * The data folder: where each part keeps its files, its format number, and the lock that lets one Holdfast use it.
 * The folder itself may be entered by others (PostgreSQL runs under an account of its own); everything in it is private.
 */
import { randomUUID } from 'node:crypto';
import { chmod, mkdir, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { giveUpReserve } from './data-disk.ts';
import { HoldfastError, isSystemError } from './errors.ts';
import { explainWriteError, readFileIfPresent, writeFileDurably } from './files.ts';
// Not by the front door: keyd and the commands that ask a running server load no database client.
import { stopOrphan } from './postgres/postmaster.ts';
import { lockProcess, type ProcessLock } from './process-lock.ts';

/** Grows when an older program could no longer use the folder. */
export const DATA_FORMAT = 1;

export interface DataFolder {
  path: string;
  applianceId: string;
  /** True when this call made the folder. */
  created: boolean;
  lock: ProcessLock;
}

/** Places below the data folder. */
export function dataPaths(dataDir: string) {
  return {
    marker: join(dataDir, 'holdfast.json'),
    lock: join(dataDir, 'lock'),
    incomplete: join(dataDir, 'recovery-incomplete'),
    postgres: join(dataDir, 'postgres'),
    postgresLog: join(dataDir, 'postgres.log'),
    files: join(dataDir, 'files'),
    keyring: join(dataDir, 'keyring'),
    tls: join(dataDir, 'tls'),
    /** Kits sealed to the operator, until they are fetched. */
    kits: join(dataDir, 'kits'),
    run: join(dataDir, 'run'),
    databaseSocket: join(dataDir, 'run', 'pg'),
    keydSocket: join(dataDir, 'run', 'keyd', 'keyd.sock'),
    controlSocket: join(dataDir, 'run', 'server', 'control.sock'),
    /** Who asked what of the server; in no snapshot. */
    requestLog: join(dataDir, 'requests'),
    /** Lists of leaked passwords; in no snapshot. */
    passwords: join(dataDir, 'passwords'),
    catalogue: join(dataDir, 'catalogue'),
    scratch: join(dataDir, 'scratch'),
    reserve: join(dataDir, 'reserve'),
  };
}

/** On the machine image, beside the data folder: what snapshots keep of the machine itself. */
export function systemFactsFolder(dataDir: string): string {
  return join(dirname(dataDir), 'system', 'snapshot');
}

/** On the machine image, beside the data folder and on its volume: where other states of it lie while it is set back. */
export function setBackFolders(dataDir: string) {
  const top = join(dirname(dataDir), 'set-back');
  return {
    top,
    record: join(top, 'record.json'),
    /** Data that are not the live ones and come from a snapshot. */
    fresh: join(top, 'fresh'),
    /** The data from before, set aside. */
    before: join(top, 'before'),
  };
}

/** Everything in it is whole and durable: a marker, and no mark of a recovery that has not ended. */
export async function isWholeFolder(dataDir: string): Promise<boolean> {
  const { marker, incomplete } = dataPaths(dataDir);
  const [marked, cutOff] = await Promise.all([marker, incomplete].map(readFileIfPresent));
  return marked !== undefined && cutOff === undefined;
}

/**
 * Opens the folder for one Holdfast, making it when it is missing or empty.
 *
 * @throws HoldfastError `locked` when another Holdfast uses it, `wrong_state` when a newer version wrote it, holds something
 * else, or an interrupted recovery left it, `unavailable` when it cannot be written.
 */
export async function openDataFolder(dataDir: string, softwareVersion: string): Promise<DataFolder> {
  const paths = dataPaths(dataDir);
  const created = await ensureFolder(dataDir);
  const lock = lockProcess(paths.lock, 'Holdfast on this data folder');
  try {
    await refuseIncomplete(dataDir);
    const applianceId = await readMarker(dataDir, softwareVersion);
    await giveUpReserve(paths.reserve);
    await mkdir(paths.run, { recursive: true, mode: 0o711 });
    await chmod(paths.run, 0o711);
    const sockets = [dirname(paths.keydSocket), dirname(paths.controlSocket)];
    for (const path of [
      ...[paths.files, paths.keyring, paths.tls, paths.kits, paths.requestLog, paths.passwords],
      ...[paths.catalogue, paths.scratch],
      ...sockets,
    ]) {
      await mkdir(path, { recursive: true, mode: 0o700 });
    }
    return { path: dataDir, applianceId, created, lock };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/**
 * Holds a folder that the machine prepared, for one server. Nothing in it is made or changed.
 *
 * @throws HoldfastError as `openDataFolder`.
 */
export async function holdPreparedFolder(dataDir: string): Promise<ProcessLock> {
  const paths = dataPaths(dataDir);
  const lock = lockProcess(paths.lock, 'Holdfast on this data folder');
  try {
    await refuseIncomplete(dataDir);
    await readApplianceId(dataDir);
    return lock;
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function refuseIncomplete(dataDir: string): Promise<void> {
  if ((await readFileIfPresent(dataPaths(dataDir).incomplete)) === undefined) return;
  throw new HoldfastError('wrong_state', 'A recovery into this folder was interrupted', {
    hint: 'Run `holdfast recover` again with the same folder; it starts over.',
  });
}

async function ensureFolder(dataDir: string): Promise<boolean> {
  try {
    const made = await mkdir(dataDir, { recursive: true, mode: 0o711 });
    await chmod(dataDir, 0o711);
    return made !== undefined;
  } catch (error) {
    if (isSystemError(error, 'ENOTDIR', 'EEXIST')) {
      throw new HoldfastError('invalid_input', `${dataDir} is not a folder`, {
        hint: 'Set HOLDFAST_DATA to a folder that is empty or holds Holdfast data.',
        cause: error,
      });
    }
    // Said instead of "read-only" where folders are made one below the other.
    if (isSystemError(error, 'ENOENT')) {
      throw new HoldfastError('unavailable', `${dataDir} cannot be written: it could not be made`, {
        hint: 'Give the account that runs Holdfast the right to write there; the disk may be read-only.',
        cause: error,
      });
    }
    throw explainWriteError(error, dataDir);
  }
}

/** The id in a folder that `openDataFolder` has opened. @throws HoldfastError `integrity_failure` when it cannot be read. */
export async function readApplianceId(dataDir: string): Promise<string> {
  const { marker } = dataPaths(dataDir);
  return parseMarker((await readFileIfPresent(marker)) ?? Buffer.alloc(0), marker).applianceId;
}

async function readMarker(dataDir: string, softwareVersion: string): Promise<string> {
  const { marker } = dataPaths(dataDir);
  const content = await readFileIfPresent(marker);
  if (content === undefined) {
    const foreign = (await readdir(dataDir)).filter(
      (name) => !['lock', 'lock-journal', 'cache', 'postgres.log'].includes(name),
    );
    if (foreign.length > 0) {
      throw new HoldfastError('wrong_state', `${dataDir} holds something that is not Holdfast data`, {
        hint: 'Choose an empty folder. Nothing was changed.',
        detail: foreign.slice(0, 5).join(', '),
      });
    }
    const applianceId = randomUUID();
    await writeMarker(dataDir, applianceId, softwareVersion);
    return applianceId;
  }
  const parsed = parseMarker(content, marker);
  if (parsed.format > DATA_FORMAT) {
    throw new HoldfastError('wrong_state', 'This data folder belongs to a newer version of Holdfast', {
      hint: `Its format is ${parsed.format}, this program knows ${DATA_FORMAT}. Start the newer version. Nothing was changed.`,
    });
  }
  return parsed.applianceId;
}

/** Writes `holdfast.json`, the mark of a complete data folder. */
export async function writeMarker(
  dataDir: string,
  applianceId: string,
  softwareVersion: string,
): Promise<void> {
  const marker = { format: DATA_FORMAT, applianceId, createdWith: softwareVersion };
  await writeFileDurably(dataPaths(dataDir).marker, `${JSON.stringify(marker)}\n`, {
    step: 'data-folder.marker',
  });
}

function parseMarker(content: Buffer, path: string): { format: number; applianceId: string } {
  try {
    const value = JSON.parse(content.toString('utf8')) as { format?: unknown; applianceId?: unknown };
    if (typeof value.format === 'number' && typeof value.applianceId === 'string') {
      return { format: value.format, applianceId: value.applianceId };
    }
  } catch {
    // Said below.
  }
  throw new HoldfastError('integrity_failure', `${path} cannot be read`, {
    hint: 'Restore that small file from a copy of the folder, or recover the appliance from a backup.',
  });
}

/** Removes what earlier runs left in `scratch/`: nothing in it is ever the only copy. */
export async function sweepScratch(dataDir: string): Promise<number> {
  const { scratch } = dataPaths(dataDir);
  const names = await readdir(scratch).catch(() => [] as string[]);
  for (const name of names) await wipeScratch(join(scratch, name));
  return names.length;
}

/** Where a restored database lies in a scratch folder. */
export function scratchClusterDir(scratchDir: string): string {
  return join(scratchDir, 'postgres');
}

/** Ends what runs in one scratch folder and removes it with everything in it. Absent is fine. */
export async function wipeScratch(scratchDir: string): Promise<void> {
  await stopOrphan(scratchClusterDir(scratchDir));
  await rm(scratchDir, { recursive: true, force: true, maxRetries: 3 });
}
