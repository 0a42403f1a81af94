/**
 * Which stored files are new. A content is renamed into the store before the row that names it is committed, so a look at the
 * store's folders after a position in the log was read finds every file that the log up to there names; no clock takes part.
 * Only folders that changed since the last look are read.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { isSystemError } from '../../lib/errors.ts';

const FOLDER = /^[0-9a-f]{2}$/;
const CONTENT = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** A folder that changed so shortly before it was read may have changed again within one tick of its clock. */
const UNSETTLED_MS = 2_000;

export interface StoreLook {
  /** Two digits, and the names in it now. */
  folder: string;
  contents: string[];
}

export interface BornScan {
  /** Folders that may have changed since the last look; all of them at the first. */
  look(): AsyncGenerator<StoreLook>;
  /** What was found at the last look was not taken in: the next one reads the folder again. */
  again(folder: string): void;
}

/** @param files the store. */
export function createBornScan(files: string, clock: Pick<Clock, 'now'>): BornScan {
  const seen = new Map<string, bigint>();
  return {
    async *look() {
      for (const folder of (await namesIn(files)).filter((name) => FOLDER.test(name)).sort()) {
        const path = join(files, folder);
        const found = await stat(path, { bigint: true }).catch(absent);
        if (found === undefined || seen.get(folder) === found.mtimeNs) continue;
        const contents = (await namesIn(path)).filter((name) => CONTENT.test(name));
        const settled = Math.abs(clock.now().getTime() - Number(found.mtimeMs)) > UNSETTLED_MS;
        if (settled) seen.set(folder, found.mtimeNs);
        yield { folder, contents };
      }
    },
    again: (folder) => void seen.delete(folder),
  };
}

async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(absent)) ?? [];
}

function absent(error: unknown): undefined {
  if (isSystemError(error, 'ENOENT')) return undefined;
  throw error;
}
