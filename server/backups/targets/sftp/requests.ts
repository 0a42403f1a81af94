/** Single requests to an SFTP server, as promises. */
import { randomBytes } from 'node:crypto';
import type { Attributes, FileEntryWithStats, SFTPWrapper, Stats } from 'ssh2';
import { TEMPORARY_PREFIX } from '../../../lib/files.ts';
import { isStatus, STATUS, StatusError, type Channel } from './connection.ts';

export const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;

/** Features of the server that this target uses, by the name under which it says that it has them. */
export const FEATURES = {
  hardlink: 'hardlink@openssh.com',
  fsync: 'fsync@openssh.com',
  statvfs: 'statvfs@openssh.com',
} as const;

/** @returns false when it was there. */
export async function makeFolder(channel: Channel, path: string): Promise<boolean> {
  try {
    await ask(channel, (sftp, done) => sftp.mkdir(path, { mode: FOLDER_MODE } as Attributes, done));
    return true;
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    const present = await lstatIfPresent(channel, path);
    if (present?.isDirectory() === true) return false;
    throw error;
  }
}

export async function sync(channel: Channel, handle: Buffer): Promise<void> {
  if (!channel.extensions.has(FEATURES.fsync)) return;
  await ask(channel, (sftp, done) => sftp.ext_openssh_fsync(handle, done), 'sync');
}

export async function freeBytes(channel: Channel, path: string): Promise<number | undefined> {
  if (!channel.extensions.has(FEATURES.statvfs)) return undefined;
  const facts = await channel.ask<StatVfs>((sftp, done) => sftp.ext_openssh_statvfs(path, done));
  return Number(facts.f_bavail) * Number(facts.f_frsize);
}

/** Its types say that it returns less than it does. */
interface StatVfs {
  f_frsize: number | bigint;
  f_bavail: number | bigint;
}

type Act = (sftp: SFTPWrapper, done: (error?: Error | null) => void) => void;

export function ask(channel: Channel, act: Act, sync?: 'sync'): Promise<void> {
  return channel.ask<undefined>((sftp, done) => act(sftp, (error) => done(error, undefined)), sync);
}

/** What lies in a folder, in as many steps as the server makes of it: each has its own limit of time. */
export async function listFolder(channel: Channel, path: string): Promise<FileEntryWithStats[]> {
  const handle = await channel.ask<Buffer>((sftp, done) => sftp.opendir(path, done));
  const entries: FileEntryWithStats[] = [];
  try {
    for (;;) entries.push(...(await nextEntries(channel, handle)));
  } catch (error) {
    if (!isStatus(error, STATUS.endOfFile)) throw error;
    return entries;
  } finally {
    await ask(channel, (sftp, done) => sftp.close(handle, done)).catch(() => undefined);
  }
}

function nextEntries(channel: Channel, handle: Buffer): Promise<FileEntryWithStats[]> {
  return channel.ask<FileEntryWithStats[]>((sftp, done) => sftp.readdir(handle, done));
}

export async function withHandle<T>(
  channel: Channel,
  path: string,
  flags: 'r' | 'w',
  act: (handle: Buffer) => Promise<T>,
): Promise<T> {
  const handle = await channel.ask<Buffer>((sftp, done) => sftp.open(path, flags, { mode: FILE_MODE }, done));
  // One after the other: a server's second small answer waits for our acknowledgement of the first, some 40 ms (Nagle).
  try {
    return await act(handle);
  } finally {
    await ask(channel, (sftp, done) => sftp.close(handle, done)).catch(() => undefined);
  }
}

export function fstat(channel: Channel, handle: Buffer): Promise<Stats> {
  return channel.ask<Stats>((sftp, done) => sftp.fstat(handle, done));
}

export async function lstatIfPresent(channel: Channel, path: string): Promise<Stats | undefined> {
  return statWith(channel, (sftp, done) => sftp.lstat(path, done));
}

/** The top folder itself may be a link, as a person set it up. */
export async function lstatOrTarget(channel: Channel, path: string): Promise<Stats | undefined> {
  return statWith(channel, (sftp, done) => sftp.stat(path, done));
}

async function statWith(
  channel: Channel,
  act: (sftp: SFTPWrapper, done: (error: Error | undefined, stats: Stats) => void) => void,
): Promise<Stats | undefined> {
  try {
    return await channel.ask<Stats>((sftp, done) => act(sftp, done));
  } catch (error) {
    if (isStatus(error, STATUS.noSuchFile)) return undefined;
    throw error;
  }
}

/** @returns whether it was there. */
export async function unlinkIfPresent(channel: Channel, path: string): Promise<boolean> {
  try {
    await ask(channel, (sftp, done) => sftp.unlink(path, done));
    return true;
  } catch (error) {
    if (isStatus(error, STATUS.noSuchFile)) return false;
    throw error;
  }
}

export function temporaryName(): string {
  return `${TEMPORARY_PREFIX}${randomBytes(6).toString('hex')}`;
}
