/** What a hardening check looks at: a tree of files (this machine's, or a built image's), and on a running machine also its kernel. */
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { Stats } from 'node:fs';
import { isSystemError } from '../../../lib/errors.ts';
import { runProcess } from '../../../lib/spawn.ts';

/** Whether the owner has opened SSH: then its port and its account are what they should be, and the report says so once. */
export async function isSshOpen(view: SystemView): Promise<boolean> {
  return (await view.command('systemctl', ['is-active', 'holdfast-ssh.service']))?.trim() === 'active';
}

export interface SystemView {
  /** False for a tree that does not run: /proc, /sys and commands say nothing about it. */
  live: boolean;
  /** Undefined when there is no such file. Links are followed inside the tree. */
  read(path: string): Promise<string | undefined>;
  stat(path: string): Promise<Stats | undefined>;
  /** Names in a folder; none when there is no such folder. */
  list(path: string): Promise<string[]>;
  /** Where a link leads, as it is written. */
  link(path: string): Promise<string | undefined>;
  /** Every file, folder and link below a folder, not beyond its file system. */
  walk(path: string): AsyncGenerator<{ path: string; stats: Stats }>;
  /** Undefined when it failed, or the tree does not run. */
  command(name: string, args: readonly string[]): Promise<string | undefined>;
}

const MOST_LINKS = 20;
const COMMAND_MS = 20_000;
const COMMAND_BYTES = 4 * 1024 * 1024;

/** @param root `/` for the machine that this runs on. */
export function viewSystem(root = '/'): SystemView {
  const live = root === '/';
  const resolveInside = (path: string) => resolveLinks(root, path);
  const quiet = async <T>(act: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await act();
    } catch (error) {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR', 'EINVAL')) return undefined;
      throw error;
    }
  };
  return {
    live,
    read: (path) => quiet(async () => readFile(await resolveInside(path), 'utf8')),
    stat: (path) => quiet(async () => lstat(await resolveInside(path))),
    list: async (path) => (await quiet(async () => (await readdir(await resolveInside(path))).sort())) ?? [],
    link: (path) => quiet(() => readlink(join(root, path))),
    walk: (path) => walk(root, path),
    command: async (name, args) => {
      if (!live) return undefined;
      const ended = await runProcess(name, args, {
        timeoutMs: COMMAND_MS,
        maxOutputBytes: COMMAND_BYTES,
      }).catch(() => undefined);
      return ended?.exitCode === 0 ? ended.stdout : undefined;
    },
  };
}

/** An absolute link in a tree means a place in that tree, not on the machine that looks at it. */
async function resolveLinks(root: string, path: string): Promise<string> {
  let todo = path.split('/').filter((part) => part !== '');
  let done = '/';
  for (let links = 0; todo.length > 0;) {
    const [part = '', ...rest] = todo;
    const next = posix.resolve(done, part);
    const target = await readlink(join(root, next)).catch(() => undefined);
    if (target === undefined || (links += 1) > MOST_LINKS) {
      done = next;
      todo = rest;
    } else {
      todo = [
        ...posix
          .resolve(done, target)
          .split('/')
          .filter((one) => one !== ''),
        ...rest,
      ];
      done = '/';
    }
  }
  return join(root, done);
}

async function* walk(root: string, path: string): AsyncGenerator<{ path: string; stats: Stats }> {
  const top = await lstat(join(root, path)).catch(() => undefined);
  if (top?.isDirectory() !== true) return;
  const folders = [path];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const name of await readdir(join(root, folder))) {
      const at = posix.join(folder, name);
      const stats = await lstat(join(root, at)).catch(() => undefined);
      if (stats === undefined) continue;
      yield { path: at, stats };
      if (stats.isDirectory() && stats.dev === top.dev) folders.push(at);
    }
  }
}
