/** A tree of files that a person chose or dropped: what is in it, before anything is sent. */
export interface TreeFile {
  /** Folder relative to the top, parts joined by slashes; empty for the top itself. */
  folder: string;
  file: File;
  /** Asked for once: each time a browser is asked, it waits for the disk. */
  sizeBytes: number;
  modifiedMs: number;
}

/** How long files are looked at before the page gets a turn. */
const TURN_MS = 12;

export interface LeftOut {
  path: string;
  reason: string;
}

export interface Tree {
  files: TreeFile[];
  /** Also those without files, where the browser tells of them. */
  folders: Set<string>;
  leftOut: LeftOut[];
}

export function pathOf({ folder, file }: TreeFile): string {
  return folder === '' ? file.name : `${folder}/${file.name}`;
}

/**
 * What an `<input type="file">` holds, with `webkitdirectory` or without. Folders without files are not in it,
 * and one with a backslash in its name comes as two: the browser does not tell. */
export async function treeOfPicked(
  files: readonly File[],
  onFound: (files: number) => void,
  signal: AbortSignal,
): Promise<Tree> {
  const tree: Tree = { files: [], folders: new Set(), leftOut: [] };
  const rest = startTurns(signal);
  for (const file of files) {
    // Browsers write a backslash in a name as a slash here, so the name is cut off by its length.
    const folder = file.webkitRelativePath.slice(0, -(file.name.length + 1));
    if (folder !== '') tree.folders.add(folder);
    tree.files.push(measured(folder, file));
    if (await rest()) onFound(tree.files.length);
  }
  return tree;
}

/** Reads what was dropped. `onFound` hears how many files there are so far; throws when `signal` aborts. */
export async function treeOfDropped(
  entries: readonly FileSystemEntry[],
  onFound: (files: number) => void,
  signal: AbortSignal,
): Promise<Tree> {
  const tree: Tree = { files: [], folders: new Set(), leftOut: [] };
  const waiting: { directory: FileSystemDirectoryEntry; path: string }[] = [];

  const take = async (found: readonly FileSystemEntry[], folder: string): Promise<void> => {
    await Promise.all(
      found.map(async (entry) => {
        const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
        if (isDirectory(entry)) {
          tree.folders.add(path);
          waiting.push({ directory: entry, path });
        } else {
          try {
            tree.files.push(measured(folder, await fileOf(entry as FileSystemFileEntry)));
          } catch {
            tree.leftOut.push({ path, reason: UNREADABLE });
          }
        }
      }),
    );
    onFound(tree.files.length);
  };

  const rest = startTurns(signal);
  await take(entries, '');
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    try {
      const reader = next.directory.createReader();
      // A reader hands out a hundred or so at a time, and nothing at the end.
      for (let part = await readPart(reader); part.length > 0; part = await readPart(reader)) {
        signal.throwIfAborted();
        await take(part, next.path);
        await rest();
      }
    } catch (error) {
      if (signal.aborted) throw error;
      tree.leftOut.push({ path: next.path, reason: UNREADABLE });
    }
  }
  return tree;
}

function measured(folder: string, file: File): TreeFile {
  return { folder, file, sizeBytes: file.size, modifiedMs: Math.max(0, Math.trunc(file.lastModified)) };
}

/** @returns what is to be awaited between two files: it lets the page have its turn now and then, and says when it did. */
function startTurns(signal: AbortSignal): () => Promise<boolean> {
  let since = performance.now();
  return async () => {
    if (performance.now() - since < TURN_MS) return false;
    await new Promise((resolve) => setTimeout(resolve));
    signal.throwIfAborted();
    since = performance.now();
    return true;
  };
}

/** Why a file of this computer could not be taken. */
export const UNREADABLE = 'the browser cannot read it: it is gone, changed or closed to it';

function isDirectory(entry: FileSystemEntry): entry is FileSystemDirectoryEntry {
  return entry.isDirectory;
}

function fileOf(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => {
    entry.file(resolve, reject);
  });
}

function readPart(reader: FileSystemDirectoryReader): Promise<FileSystemEntry[]> {
  return new Promise((resolve, reject) => {
    reader.readEntries(resolve, reject);
  });
}
