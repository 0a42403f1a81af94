/** Walks the parent snapshot's file list beside the scan: both are sorted, so one look ahead is enough. */
import type { ChunkCatalogue, FileEntry, SourceSection } from '../engine.ts';
import { readSegments, type ListedEntry } from './list-entries.ts';
import type { PackReader } from './pack-reader.ts';
import type { ByteString } from './path-bytes.ts';

export interface ParentCursor {
  /** Paths must ascend from call to call. A promise only when another segment is needed. */
  find(path: ByteString): FileEntry | undefined | Promise<FileEntry | undefined>;
  /** Files touched after this instant (ns) may have changed unseen. */
  settledBefore(marginNs: bigint): bigint;
}

export function openParentCursor(
  parent: SourceSection | undefined,
  packs: PackReader,
  catalogue: ChunkCatalogue,
): ParentCursor {
  const startedAt = parent?.facts.scanStartedAt;
  const known = typeof startedAt === 'string' && /^\d{1,19}$/.test(startedAt);
  const scanStartedNs = known ? BigInt(startedAt) : 0n;
  const segments =
    parent === undefined ? undefined : readSegments(parent, packs, catalogue)[Symbol.asyncIterator]();
  let entries: ListedEntry[] = [];
  let at = 0;
  let ended = segments === undefined;

  const findHere = (path: ByteString): FileEntry | undefined => {
    for (let entry = entries[at]; entry !== undefined; entry = entries[++at]) {
      if (entry.path === path) return entry.entry;
      if (entry.path > path) return undefined;
    }
    return undefined;
  };
  const findFurther = async (path: ByteString): Promise<FileEntry | undefined> => {
    while (!ended && at >= entries.length && segments !== undefined) {
      const next = await segments.next();
      if (next.done === true) ended = true;
      else {
        entries = next.value;
        at = 0;
        const found = findHere(path);
        if (found !== undefined) return found;
      }
    }
    return undefined;
  };

  return {
    find(path) {
      const found = findHere(path);
      return found !== undefined || at < entries.length || ended ? found : findFurther(path);
    },
    settledBefore: (marginNs) => scanStartedNs - marginNs,
  };
}
