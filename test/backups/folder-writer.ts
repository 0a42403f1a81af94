/** A section that is a plain folder: the simplest thing that takes a source's entries, to look at what a source delivers. */
import { createWriteStream, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { FileEntry, SourceSection, SourceWriter } from '../../server/backups/engine.ts';

export function openFolderWriter(
  folder: string,
  facts: Record<string, unknown>,
): SourceWriter & { entries: FileEntry[] } {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const entries: FileEntry[] = [];
  return {
    entries,
    async addEntry(entry) {
      entries.push(entry);
      mkdirSync(join(folder, entry.path ?? ''), { recursive: true, mode: 0o700 });
    },
    async addFile(entry, content) {
      entries.push(entry);
      const path = join(folder, entry.path ?? '');
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      await pipeline(Readable.from(content), createWriteStream(path, { mode: 0o600 }));
    },
    async finish(): Promise<SourceSection> {
      return {
        ...{
          name: 'database',
          kind: 'postgres',
          facts,
          segments: [],
          fileCount: 0,
          directoryCount: 0,
          sizeBytes: 0,
        },
        ...{ problems: [], problemCount: 0 },
      };
    },
  };
}
