/**
 * The directories, links and names of a restore. Directories are made as they come, closed to others; symbolic links, hard
 * links, and the directories' own modes and times follow when all files are in place.
 *
 * Every directory that is entered was made here or was looked at and is a real directory: nothing is ever written through
 * a symbolic link, be it from the snapshot or from before.
 */
import { randomBytes } from 'node:crypto';
import { linkSync, lstatSync, mkdirSync, symlinkSync } from 'node:fs';
import { lstat, mkdir, readdir } from 'node:fs/promises';
import { HoldfastError, isSystemError, messageOf } from '../../lib/errors.ts';
import type { FileEntry } from '../engine.ts';
import { linkTargetOf } from './file-entry.ts';
import { applyToDirectory, applyToLink, type Ownership } from './file-metadata.ts';
import { removeStaging } from './file-writer.ts';
import { byteStringOf, fsPathOf, type ByteString } from './path-bytes.ts';
import type { ProblemList } from './problem-list.ts';
import type { RestoreReport } from './restore-section.ts';

export interface RestoredTree {
  /** Absolute path of an entry. */
  absolute(path: ByteString): ByteString;
  /** A new name for staging in a directory that was entered. */
  stagingFor(directory: ByteString): ByteString;
  /** Makes sure that a directory is there. @returns false when it cannot be; the reason was reported */
  enter(directory: ByteString): boolean;
  addDirectory(path: ByteString, metadata: Ownership): void;
  addSymlink(path: ByteString, entry: FileEntry, metadata: Ownership): void;
  /** @returns true when another file of the group is restored and this one will be a link to it */
  addHardLink(path: ByteString, group: string): boolean;
  /** The file that a group's links would point to could not be restored. */
  dropHardLinks(group: string, problem: string): void;
  finish(report: RestoreReport): void;
}

/** @throws conflict, invalid_input, unavailable */
export async function openRestoredTree(
  to: string,
  existing: 'refuse' | 'replace',
  problems: ProblemList,
): Promise<RestoredTree> {
  if (!to.startsWith('/') || to.includes('\0')) {
    throw new HoldfastError('invalid_input', 'The folder to restore to must be given by its absolute path');
  }
  const top = byteStringOf(to).replace(/\/+$/, '') || '/';
  await prepareTop(to, existing);

  const token = randomBytes(6).toString('hex');
  let lastStaging = 0;
  const entered = new Map<ByteString, boolean>([['', true]]);
  const directories: { path: ByteString; metadata: Ownership }[] = [];
  const symlinks: { path: ByteString; target: ByteString; metadata: Ownership }[] = [];
  const groups = new Map<string, ByteString>();
  const hardLinks: { path: ByteString; group: string }[] = [];
  const dropped = new Map<string, string>();

  const absolute = (path: ByteString): ByteString =>
    path === '' ? top : top === '/' ? `/${path}` : `${top}/${path}`;

  const enter = (directory: ByteString): boolean => {
    const known = entered.get(directory);
    if (known !== undefined) return known;
    const slash = directory.lastIndexOf('/');
    const done = enter(slash < 0 ? '' : directory.slice(0, slash)) && makeDirectory(directory);
    entered.set(directory, done);
    return done;
  };
  const makeDirectory = (directory: ByteString): boolean => {
    const path = fsPathOf(absolute(directory));
    try {
      mkdirSync(path, { mode: 0o700 });
      return true;
    } catch (error) {
      const inPlace = isSystemError(error, 'EEXIST') && lstatSync(path).isDirectory();
      if (!inPlace) problems.add(directory, reasonOfPath(error));
      return inPlace;
    }
  };

  return {
    absolute,
    enter,
    stagingFor: (directory) => `${absolute(directory)}/.holdfast-restore-${token}-${++lastStaging}`,
    addDirectory(path, metadata) {
      if (enter(path)) directories.push({ path, metadata });
    },
    addSymlink(path, entry, metadata) {
      const target = linkTargetOf(entry);
      const slash = path.lastIndexOf('/');
      if (target === undefined) problems.add(path, 'its line in the file list is incomplete');
      else if (enter(slash < 0 ? '' : path.slice(0, slash))) symlinks.push({ path, target, metadata });
      else problems.add(path, 'the folder above it could not be restored');
    },
    addHardLink(path, group) {
      if (!groups.has(group)) {
        groups.set(group, path);
        return false;
      }
      hardLinks.push({ path, group });
      return true;
    },
    dropHardLinks: (group, problem) => void dropped.set(group, problem),
    finish(report) {
      for (const { path, group } of hardLinks) {
        const problem =
          dropped.get(group) ?? makeHardLink(absolute(groups.get(group) ?? ''), absolute(path), existing);
        if (problem === undefined) report.hardLinks++;
        else problems.add(path, problem);
      }
      for (const link of symlinks) {
        const problem = makeSymlink(link.target, absolute(link.path), link.metadata, existing);
        if (problem === undefined) report.symlinks++;
        else problems.add(link.path, problem);
      }
      // Deepest first: a directory's final mode may keep us out of it.
      for (const { path, metadata } of directories.reverse()) {
        try {
          applyToDirectory(absolute(path), metadata);
          report.directories++;
        } catch (error) {
          problems.add(path, reasonOfPath(error));
        }
      }
    },
  };
}

async function prepareTop(to: string, existing: 'refuse' | 'replace'): Promise<void> {
  try {
    await mkdir(to, { recursive: true, mode: 0o700 });
    if (!(await lstat(to)).isDirectory()) throw notEmpty(to, 'is a link');
    if (existing === 'refuse' && (await readdir(to)).length > 0) throw notEmpty(to, 'is not empty');
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    if (isSystemError(error, 'EEXIST', 'ENOTDIR')) throw notEmpty(to, 'is not a folder');
    if (isSystemError(error, 'ENOSPC', 'EDQUOT')) {
      throw new HoldfastError('no_space', `No space left to make ${to}`, { cause: error });
    }
    throw new HoldfastError('unavailable', `The folder ${to} cannot be used: ${messageOf(error)}`, {
      hint: 'Choose a folder that the account running Holdfast may write to.',
      cause: error,
    });
  }
}

function notEmpty(to: string, why: string): HoldfastError {
  return new HoldfastError('conflict', `The folder to restore to, ${to}, ${why}`, {
    hint: 'Give an empty folder or one that does not exist yet. Nothing was changed.',
  });
}

function makeHardLink(from: ByteString, to: ByteString, existing: 'refuse' | 'replace'): string | undefined {
  try {
    if (existing === 'replace') removeStaging(to);
    linkSync(fsPathOf(from), fsPathOf(to));
    return undefined;
  } catch (error) {
    return reasonOfPath(error);
  }
}

function makeSymlink(
  target: ByteString,
  path: ByteString,
  metadata: Ownership,
  existing: 'refuse' | 'replace',
): string | undefined {
  try {
    if (existing === 'replace') removeStaging(path);
    symlinkSync(fsPathOf(target), fsPathOf(path));
    applyToLink(path, metadata);
    return undefined;
  } catch (error) {
    return reasonOfPath(error);
  }
}

function reasonOfPath(error: unknown): string {
  if (isSystemError(error, 'EEXIST', 'EISDIR', 'ENOTDIR')) return 'something else is in its place';
  if (isSystemError(error, 'ENAMETOOLONG')) return 'its path is too long here';
  if (isSystemError(error, 'EACCES', 'EPERM', 'EROFS')) return 'it may not be created here';
  return `it could not be created: ${messageOf(error)}`;
}
