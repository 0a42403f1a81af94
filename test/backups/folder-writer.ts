/** A section that is a plain folder: the simplest thing that takes a source's entries, to look at what a source delivers. */
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { FileEntry, SourceSection, SourceWriter, StoredContent } from '../../server/backups/engine.ts';

/** @param chunks by their hash; one map for several folders makes the later ones go on from what the earlier ones stored. */
export function openFolderWriter(
  folder: string,
  facts: Record<string, unknown>,
  chunks = new Map<string, Buffer>(),
): SourceWriter & { entries: FileEntry[]; read: { bytes: number } } {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const entries: FileEntry[] = [];
  const read = { bytes: 0 };
  const store = (chunk: Uint8Array): Buffer => {
    const id = createHash('sha256').update(chunk).digest();
    chunks.set(id.toString('hex'), Buffer.from(chunk));
    read.bytes += chunk.length;
    return id;
  };
  const write = (entry: FileEntry, ids: readonly Buffer[]): StoredContent => {
    entries.push(entry);
    const path = join(folder, entry.path ?? '');
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const descriptor = openSync(path, 'w', 0o600);
    let size = 0;
    for (const id of ids) size += writeSync(descriptor, chunks.get(id.toString('hex')) ?? Buffer.alloc(0));
    closeSync(descriptor);
    const all = Buffer.concat(ids);
    return { size, ids: all, digests: all };
  };
  return {
    entries,
    read,
    async addEntry(entry) {
      entries.push(entry);
      mkdirSync(join(folder, entry.path ?? ''), { recursive: true, mode: 0o700 });
    },
    async addFile(entry, content, { chunkBytes, onStored }) {
      const ids: Buffer[] = [];
      let rest: Buffer = Buffer.alloc(0);
      for await (const piece of content) {
        rest = Buffer.concat([rest, piece]);
        for (; rest.length >= chunkBytes; rest = rest.subarray(chunkBytes))
          ids.push(store(rest.subarray(0, chunkBytes)));
      }
      if (rest.length > 0) ids.push(store(rest));
      const stored = write(entry, ids);
      onStored?.(stored);
    },
    async addChangedFile(entry, { size, before, isChanged, read: readPart }, { chunkBytes, onStored }) {
      const ids: Buffer[] = [];
      for (let at = 0; at < size; at += chunkBytes) {
        const end = Math.min(size, at + chunkBytes);
        const known = before?.ids.subarray((at / chunkBytes) * 32, (at / chunkBytes + 1) * 32) ?? [];
        const isKept =
          before !== undefined && Math.min(before.size, at + chunkBytes) === end && !isChanged(at, end);
        if (isKept) ids.push(Buffer.from(known));
        else {
          const data = await readPart(at, end - at);
          if (data === undefined) return undefined;
          ids.push(store(Buffer.concat([data, Buffer.alloc(end - at - data.length)])));
        }
      }
      const stored = write(entry, ids);
      onStored?.(stored);
      return entry;
    },
    async finish(): Promise<SourceSection> {
      return {
        ...{ name: 'database', kind: 'postgres', facts },
        ...{ segments: [], fileCount: 0, directoryCount: 0, sizeBytes: 0 },
        ...{ problems: [], problemCount: 0 },
      };
    },
  };
}
