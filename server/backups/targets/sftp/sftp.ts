/**
 * A target that is a folder on an SFTP server.
 *
 * Guarantees: as a directory target, an object is whole or absent and is never overwritten: it is written under a temporary name,
 * synced, then given its name by an operation that refuses a taken one. A lost connection is opened again, and what may be done
 * twice is done again; only the naming of `create` is not, because a second try could not tell its own success from another's.
 *
 * Relies on these features of the server; all are in OpenSSH:
 * - `hardlink@openssh.com` names an object exclusively. Without it the plain rename does, which by the protocol refuses a taken
 *   name; the trial of a target tests that this server keeps to it, and such a one that overwrites is refused.
 * - `fsync@openssh.com` makes an object durable before `write` returns, and its folder where the server lets folders be opened.
 *   Without it the server keeps what it acknowledged in its memory for some seconds, and a power cut there may take the newest
 *   objects; the next run finds them missing by its listing, and verify finds those cut short.
 * - `statvfs@openssh.com` tells free space, and a full disk from another failure. Without it neither is known.
 *
 * A read-back crosses the network, and comes from the server's cache: unlike a local disk it cannot be read past it.
 */
import { basename, dirname, join } from 'node:path/posix';
import type { FileEntryWithStats } from 'ssh2';
import { crashPoint } from '../../../lib/crash-point.ts';
import { HoldfastError } from '../../../lib/errors.ts';
import { TEMPORARY_PREFIX } from '../../../lib/files.ts';
import type { SftpConfig, Target, TargetObject } from '../../engine.ts';
import { checkObjectName, checkPrefix, HINT_NAME, OBJECT_KINDS } from '../object-name.ts';
import { ConnectionLost, isStatus, STATUS, StatusError, type Channel } from './connection.ts';
import { openPool, type Pool } from './pool.ts';
import {
  ask,
  FEATURES,
  FILE_MODE,
  freeBytes,
  fstat,
  listFolder,
  lstatIfPresent,
  lstatOrTarget,
  makeFolder,
  sync,
  temporaryName,
  unlinkIfPresent,
  withHandle,
} from './requests.ts';
import { openTurn, type Turn } from '../pace.ts';
import { hashRemote, readPieces, writePieces } from './transfer.ts';

/** Folders that are listed at once. */
const LISTED_AHEAD = 8;
/** Less free space than an object and this is a full disk. */
const SPACE_MARGIN_BYTES = 1024 * 1024;

/**
 * Connects, and opens a folder that exists. Nothing is created.
 *
 * @throws HoldfastError `unavailable` when the server or the folder is not there, `wrong_key` for another host key,
 *   `target_refused` for a refused sign-in.
 * @param silenceMs how long a server may say nothing.
 */
export async function openSftpTarget(config: SftpConfig, silenceMs?: number): Promise<Target> {
  if (!config.path.startsWith('/') || config.path.includes('\0')) {
    throw new HoldfastError('invalid_input', 'An SFTP target needs an absolute path on the server');
  }
  const top = config.path.length > 1 ? config.path.replace(/\/+$/, '') : config.path;
  const pool = await openPool(config, silenceMs);
  const scene: Scene = { config, top, pool, turn: openTurn(config.pace), folderSync: 'untried' };
  try {
    await checkTop(scene);
  } catch (error) {
    await pool.close();
    throw error;
  }
  const path = (name: string): string => {
    checkObjectName(name);
    return join(top, name);
  };
  const run = <T>(name: string, act: (channel: Channel) => Promise<T>, sizeBytes?: number): Promise<T> =>
    runExplained(scene, name, act, sizeBytes);

  return {
    config,
    async *list(prefix) {
      checkPrefix(prefix);
      await checkTop(scene);
      if (prefix !== '') yield* walk(scene, join(top, prefix), prefix);
      else yield* walkTop(scene);
    },
    find: async (name) => {
      const file = path(name);
      const found = await run(name, (channel) => lstatIfPresent(channel, file));
      if (found === undefined) await checkTop(scene);
      return found?.isFile() === true ? { name, sizeBytes: found.size } : undefined;
    },
    read: async (name, range) => {
      const file = path(name);
      return run(name, (channel) => readFile(channel, file, name, range));
    },
    async write(name, data) {
      const file = path(name);
      const parts = data instanceof Uint8Array ? [data] : data;
      const size = parts.reduce((sum, part) => sum + part.length, 0);
      await run(
        name,
        (channel) => writeObject(scene, channel, { name, file, parts, size, again: true }),
        size,
      );
    },
    async create(name, data) {
      const file = path(name);
      const wanted = { name, file, parts: [data], size: data.length, again: false };
      await run(name, (channel) => writeObject(scene, channel, wanted), data.length);
    },
    async delete(name) {
      const file = path(name);
      await checkTop(scene);
      await run(name, async (channel) => {
        if (await unlinkIfPresent(channel, file)) await syncFolder(scene, channel, dirname(file));
      });
      return undefined;
    },
    readBack: async (name) => {
      const file = path(name);
      return run(name, (channel) =>
        withHandle(channel, file, 'r', async (handle) =>
          hashRemote(channel, handle, (await fstat(channel, handle)).size),
        ),
      );
    },
    async sweep() {
      await checkTop(scene);
      return sweepFolder(scene, top);
    },
    async now() {
      await checkTop(scene);
      const probe = join(top, `${temporaryName()}-clock`);
      return run('', async (channel) => {
        try {
          const stats = await withHandle(channel, probe, 'w', (handle) => fstat(channel, handle));
          return new Date(stats.mtime * 1000);
        } finally {
          await unlinkIfPresent(channel, probe);
        }
      });
    },
    async freeBytes() {
      await checkTop(scene);
      return run('', (channel) => freeBytes(channel, top));
    },
    features: () => pool.use(async (channel) => channel.extensions),
    topEntries: async () => (await readFolder(scene, top)).map((entry) => entry.filename),
    async openTrial() {
      const place = join(top, `${temporaryName()}-trial`);
      await run('', (channel) => makeFolder(channel, place));
      const target = await openSftpTarget({ ...config, path: place });
      const remove = async () => {
        await target.close();
        await removeFolder(scene, place);
      };
      return { target, remove };
    },
    close: () => pool.close(),
  };
}

interface Scene {
  config: SftpConfig;
  /** Before each piece that is sent; undefined where nothing is limited. */
  turn: Turn | undefined;
  top: string;
  pool: Pool;
  /** `worked`: the server syncs folders, so a refusal is a failure; `unsupported`: it said so. */
  folderSync: 'untried' | 'worked' | 'unsupported';
}

/** Over a channel, with the server's refusals explained. */
function runExplained<T>(
  scene: Scene,
  name: string,
  act: (channel: Channel) => Promise<T>,
  sizeBytes = 0,
): Promise<T> {
  return scene.pool.use(act).catch((error: unknown) => explain(scene, error, name, sizeBytes));
}

interface NewObject {
  name: string;
  file: string;
  parts: readonly Uint8Array[];
  size: number;
  /** Whether an object of that name and size is fine. */
  again: boolean;
}

async function writeObject(scene: Scene, channel: Channel, wanted: NewObject): Promise<void> {
  const { file } = wanted;
  const folder = dirname(file);
  const temporary = join(folder, `${temporaryName()}-${basename(file).slice(0, 100)}`);
  const handle = await openNew(scene, channel, wanted, temporary);
  try {
    try {
      await writePieces(channel, handle, wanted.parts, scene.turn);
      await sync(channel, handle);
    } finally {
      await ask(channel, (sftp, done) => sftp.close(handle, done));
    }
    crashPoint('target.object.written');
    // A name that was there before may be our own, of a try whose end we did not see: it is made durable all the same.
    await nameExclusively(channel, temporary, wanted);
    crashPoint('target.object.linked');
    try {
      await unlinkIfPresent(channel, temporary);
      await syncFolder(scene, channel, folder);
    } catch (error) {
      if (error instanceof ConnectionLost && !wanted.again) throw lostWhileCreating(wanted.name, error);
      throw error;
    }
  } catch (error) {
    if (!(error instanceof ConnectionLost)) await unlinkIfPresent(channel, temporary).catch(() => undefined);
    throw error;
  }
}

/** The folder is made when it is missing: asking first would cost a round trip for each object. */
async function openNew(
  scene: Scene,
  channel: Channel,
  { name }: NewObject,
  temporary: string,
): Promise<Buffer> {
  const open = () =>
    channel.ask<Buffer>((sftp, done) => sftp.open(temporary, 'wx', { mode: FILE_MODE }, done));
  try {
    return await open();
  } catch (error) {
    if (!isStatus(error, STATUS.noSuchFile)) throw error;
    await makeParents(scene, channel, name, dirname(temporary));
    return open();
  }
}

/** An object of this name and size may be there already where that is fine. @throws HoldfastError `conflict` */
async function nameExclusively(channel: Channel, temporary: string, wanted: NewObject): Promise<void> {
  const { name, file, size, again } = wanted;
  try {
    const linked = channel.extensions.has(FEATURES.hardlink);
    if (linked) await ask(channel, (sftp, done) => sftp.ext_openssh_hardlink(temporary, file, done));
    else await ask(channel, (sftp, done) => sftp.rename(temporary, file, done));
  } catch (error) {
    if (error instanceof ConnectionLost && !again) throw lostWhileCreating(name, error);
    if (!(error instanceof StatusError)) throw error;
    const present = await lstatIfPresent(channel, file);
    if (present === undefined) throw error;
    if (again && present.isFile() && present.size === size) return;
    throw new HoldfastError(
      'conflict',
      `The target holds ${name} ${again ? 'with another size' : 'already'}`,
      {
        hint: 'Objects are never overwritten. Another writer may be at work on this repository.',
      },
    );
  }
}

/** Not a loss that the pool would try again after: a second try would meet the object of the first, and call it another's. */
function lostWhileCreating(name: string, cause: ConnectionLost): HoldfastError {
  return new HoldfastError('unavailable', `The connection was lost while ${name} was being created`, {
    hint: 'Start it again. Whether it was created is found out then.',
    cause,
  });
}

/** Makes missing folders below the top; never the top itself, and none in a folder that is no repository. */
async function makeParents(scene: Scene, channel: Channel, name: string, folder: string): Promise<void> {
  const { top } = scene;
  const topStats = await lstatOrTarget(channel, top);
  if (topStats?.isDirectory() !== true) throw unavailable(scene, 'is not there');
  if (folder === top) return;
  if (!name.startsWith('keys/')) {
    const signs = await Promise.all(
      [HINT_NAME, 'keys'].map((sign) => lstatIfPresent(channel, join(top, sign))),
    );
    if (signs.every((sign) => sign === undefined)) throw unavailable(scene, 'holds no repository any more');
  }
  const missing: string[] = [];
  for (let at = folder; at !== top; at = dirname(at)) missing.unshift(at);
  for (const each of missing) {
    if (await makeFolder(channel, each)) await syncFolder(scene, channel, dirname(each));
  }
}

/**
 * OpenSSH opens a folder for reading as any file, and so syncs it. Other servers refuse that, not all of them by saying that they do not
 * support it; those are asked each time. A server that did it before and now refuses has failed.
 */
async function syncFolder(scene: Scene, channel: Channel, folder: string): Promise<void> {
  if (scene.folderSync === 'unsupported' || !channel.extensions.has(FEATURES.fsync)) return;
  try {
    await withHandle(channel, folder, 'r', (handle) => sync(channel, handle));
    scene.folderSync = 'worked';
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    if (error.status === STATUS.unsupported) scene.folderSync = 'unsupported';
    else if (scene.folderSync === 'worked') throw error;
  }
}

async function readFile(
  channel: Channel,
  file: string,
  name: string,
  range?: { offset: number; length: number; into?: Buffer },
): Promise<Buffer> {
  return withHandle(channel, file, 'r', async (handle) => {
    const offset = range?.offset ?? 0;
    const length = range?.length ?? (await fstat(channel, handle)).size;
    const data = range?.into?.subarray(0, length) ?? Buffer.allocUnsafeSlow(length);
    const count = await readPieces(channel, handle, data, offset);
    if (count === length) return data;
    throw new HoldfastError('integrity_failure', `${name} is cut short`, {
      hint: 'It is not used. Another copy of the repository may be whole.',
      detail: `ends at byte ${String(offset + count)}`,
    });
  });
}

async function* walkTop(scene: Scene): AsyncIterable<TargetObject> {
  const { top } = scene;
  const hint = await runExplained(scene, HINT_NAME, (channel) =>
    lstatIfPresent(channel, join(top, HINT_NAME)),
  );
  if (hint?.isFile() === true) yield { name: HINT_NAME, sizeBytes: hint.size };
  for (const kind of OBJECT_KINDS) yield* walk(scene, join(top, kind), `${kind}/`);
}

/** Symbolic links are never followed: a repository has none. Some folders are fetched ahead. */
async function* walk(scene: Scene, folder: string, prefix: string): AsyncIterable<TargetObject> {
  const entries = await readFolder(scene, folder);
  const below: { folder: string; prefix: string }[] = [];
  for (const { filename, attrs } of entries) {
    if (filename.startsWith(TEMPORARY_PREFIX)) continue;
    if (attrs.isFile()) yield { name: prefix + filename, sizeBytes: attrs.size };
    else if (attrs.isDirectory()) {
      below.push({ folder: join(folder, filename), prefix: `${prefix}${filename}/` });
    }
  }
  const ahead: Promise<TargetObject[]>[] = [];
  for (let at = 0; at < below.length; at++) {
    for (const next of below.slice(at + ahead.length, at + LISTED_AHEAD)) {
      const listed = Array.fromAsync(walk(scene, next.folder, next.prefix));
      listed.catch(() => undefined);
      ahead.push(listed);
    }
    yield* (await ahead.shift()) ?? [];
  }
}

/** Empty when it is not there. @throws HoldfastError `unavailable` */
async function readFolder(scene: Scene, folder: string): Promise<FileEntryWithStats[]> {
  try {
    const entries = await scene.pool.use((channel) => listFolder(channel, folder));
    return entries.filter(({ filename }) => filename !== '.' && filename !== '..' && !filename.includes('/'));
  } catch (error) {
    if (isStatus(error, STATUS.noSuchFile)) return [];
    return explain(scene, error, folder, 0);
  }
}

async function sweepFolder(scene: Scene, folder: string): Promise<number> {
  let count = 0;
  const below: string[] = [];
  for (const { filename, attrs } of await readFolder(scene, folder)) {
    const path = join(folder, filename);
    if (attrs.isDirectory()) below.push(path);
    else if (attrs.isFile() && filename.startsWith(TEMPORARY_PREFIX)) {
      await runExplained(scene, path, (channel) => unlinkIfPresent(channel, path));
      count++;
    }
  }
  for (let at = 0; at < below.length; at += LISTED_AHEAD) {
    const counts = await Promise.all(
      below.slice(at, at + LISTED_AHEAD).map((path) => sweepFolder(scene, path)),
    );
    count += counts.reduce((sum, one) => sum + one, 0);
  }
  return count;
}

async function removeFolder(scene: Scene, folder: string): Promise<void> {
  for (const { filename, attrs } of await readFolder(scene, folder)) {
    const path = join(folder, filename);
    if (attrs.isDirectory()) await removeFolder(scene, path);
    else await runExplained(scene, path, (channel) => unlinkIfPresent(channel, path));
  }
  await runExplained(scene, folder, (channel) => ask(channel, (sftp, done) => sftp.rmdir(folder, done)));
}

async function checkTop(scene: Scene): Promise<void> {
  const found = await runExplained(scene, '', (channel) => lstatOrTarget(channel, scene.top));
  if (found === undefined) throw unavailable(scene, 'is not there');
  if (!found.isDirectory()) throw unavailable(scene, 'is not a directory');
}

function unavailable({ config, top }: Scene, what: string): HoldfastError {
  return new HoldfastError('unavailable', `The folder ${top} on ${config.host} ${what}`, {
    hint: 'Make or mount it on the server, then try again. Nothing was written in its place.',
  });
}

/** What the server refused, in our words. */
async function explain(scene: Scene, error: unknown, name: string, sizeBytes: number): Promise<never> {
  if (!(error instanceof StatusError)) throw error;
  const { config, top } = scene;
  if (error.status === STATUS.noSuchFile) {
    await checkTop(scene);
    throw new HoldfastError('not_found', `The target does not hold ${name}`, { cause: error });
  }
  if (await isFull(scene, error, sizeBytes)) {
    throw new HoldfastError('no_space', `The target ${top} on ${config.host} is full`, {
      hint: 'Free some space on it or give it more. Everything written so far is whole and is used by the next run.',
      cause: error,
    });
  }
  if (error.status === STATUS.permissionDenied) {
    throw new HoldfastError('unavailable', `${config.host} does not let us in ${top}: ${saidBy(error)}`, {
      hint: `Give the user ${config.username} the right to read and write there, and to enter the folders above.`,
      detail: name,
      cause: error,
    });
  }
  throw new HoldfastError('unavailable', `${config.host} refused an operation in ${top}: ${saidBy(error)}`, {
    hint: 'Look at the free space, the rights and the health of that server, then try again.',
    detail: name,
    cause: error,
  });
}

/** Words and number, as the server gave them; they go to people, so nothing but plain letters. */
function saidBy({ status, message }: StatusError): string {
  return `“${message.replace(/[^\x20-\x7e]/g, '').slice(0, 200)}” (${String(status)})`;
}

/** OpenSSH says no more than "failure" when its disk is full. */
async function isFull(scene: Scene, error: StatusError, sizeBytes: number): Promise<boolean> {
  if (isStatus(error, STATUS.noSpace, STATUS.quotaExceeded)) return true;
  if (error.status !== STATUS.failure || sizeBytes === 0) return false;
  const free = await scene.pool.use((channel) => freeBytes(channel, scene.top)).catch(() => undefined);
  return free !== undefined && free < sizeBytes + SPACE_MARGIN_BYTES;
}
