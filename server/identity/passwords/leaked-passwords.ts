/**
 * Passwords that leaks have shown. Guarantees: nothing leaves the appliance for it; a look costs the same whatever the answer; the list
 * that an operator gives counts from the transaction on that says so, and a process killed on the way leaves the one from before.
 */
import { randomBytes } from 'node:crypto';
import { open, readdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { recordAudit, type Actor } from '../../audit/index.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { dataPaths } from '../../lib/data-folder.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError, isSystemError } from '../../lib/errors.ts';
import { explainWriteError, makePrivateDirectory, syncDirectory } from '../../lib/files.ts';
import type { SessionDeps } from '../sessions/sessions.ts';
import { hashStart, isInList, readListFacts, shapeFor, writeList, type ListFacts } from './leaked-list.ts';
import { readHashLines } from './hash-lines.ts';
import { findLeakedList, saveLeakedList } from './queries.ts';
import type { LeakedLists } from './schema.ts';

export type LeakDeps = Pick<SessionDeps, 'db'> & { dataDir: string };

/** Comes with Holdfast; README.md beside it says from where. */
const OWN_LIST = join(import.meta.dirname, 'leaked-passwords.bin');
/** Of a line of the published lists, at least: 40 digits, a colon, a digit, a line's end. */
const LINE_BYTES = 43;
/** Left free on the disk. */
const SPARE_BYTES = 1024 ** 3;

/** Looks into the list that comes with Holdfast and into the operator's. */
export async function isLeaked(deps: LeakDeps, password: string): Promise<boolean> {
  const start = hashStart(password);
  const given = await givenListPath(deps);
  const [own, more] = await Promise.all([
    isInList(OWN_LIST, start),
    given === undefined ? false : isInList(given, start).catch(falseWhenGone),
  ]);
  return own || more;
}

export async function describeLeakedLists(deps: LeakDeps): Promise<LeakedLists> {
  const own = await readListFacts(OWN_LIST);
  const row = await findLeakedList(deps.db);
  const given = await givenListPath(deps);
  const there = given === undefined ? undefined : await readListFacts(given).catch(() => undefined);
  return {
    own: { passwords: own.count },
    given:
      row === undefined
        ? null
        : {
            passwords: Number(row.passwords),
            sizeBytes: Number(row.size_bytes),
            atLeast: row.at_least,
            importedAt: row.imported_at.toISOString(),
            usable: there !== undefined,
          },
  };
}

let importing = false;

/**
 * Takes a published list in, as it comes: lines `SHA-1:COUNT` in ascending order.
 *
 * @param source.sizeBytes of all of it.
 * @param source.atLeast takes what was seen so often.
 * @throws HoldfastError `invalid_input` for what is no such list, `no_space`, `conflict` while another is taken in; the list from before
 *   stays then.
 */
export async function importLeakedList(
  deps: LeakDeps & SessionDeps,
  source: { content: AsyncIterable<Buffer>; sizeBytes: number; atLeast: number },
  actor: Actor,
): Promise<LeakedLists> {
  if (importing) throw new HoldfastError('conflict', 'A list is being taken in already');
  importing = true;
  const folder = dataPaths(deps.dataDir).passwords;
  const fileName = `leaked-${randomBytes(8).toString('hex')}.bin`;
  try {
    await makePrivateDirectory(folder);
    await sweep(folder, [(await findLeakedList(deps.db))?.file_name]);
    const facts = await writeFile(folder, fileName, source);
    crashPoint('identity.leaked-list.written');
    await writeTransaction(deps.db, async (tx) => {
      const row = {
        ...{ file_name: fileName, passwords: facts.count, size_bytes: facts.sizeBytes },
        ...{ at_least: source.atLeast, imported_at: deps.clock.now() },
      };
      await saveLeakedList(tx, row);
      await recordAudit(tx, deps.clock, actor, {
        action: 'identity.leaked-passwords.imported',
        objectType: 'setting',
        detail: { passwords: facts.count, atLeast: source.atLeast },
      });
    });
    crashPoint('identity.leaked-list.used');
    await sweep(folder, [fileName]);
    return await describeLeakedLists(deps);
  } catch (error) {
    if (await isSurelyUnused(deps, fileName)) await rm(join(folder, fileName), { force: true });
    throw error;
  } finally {
    importing = false;
  }
}

/**
 * What fails after the new list counts leaves it: without its file every password would be taken for a good one. While nobody can say,
 * the file stays too; the next import takes away what is not used.
 */
async function isSurelyUnused(deps: LeakDeps, fileName: string): Promise<boolean> {
  try {
    return (await findLeakedList(deps.db))?.file_name !== fileName;
  } catch {
    return false;
  }
}

async function writeFile(
  folder: string,
  fileName: string,
  source: { content: AsyncIterable<Buffer>; sizeBytes: number; atLeast: number },
): Promise<ListFacts & { sizeBytes: number }> {
  const shape = shapeFor(source.sizeBytes / LINE_BYTES, 4);
  await requireSpace(folder, (source.sizeBytes / LINE_BYTES) * shape.tailBytes);
  const path = join(folder, fileName);
  const file = await open(path, 'wx', 0o600);
  try {
    const list = writeList(file, shape);
    await readHashLines(source.content, async (lines) => {
      lines.forEachAtLeast(source.atLeast, list.add);
      await list.flush();
    });
    const facts = await list.finish();
    if (facts.count === 0)
      throw new HoldfastError('invalid_input', 'Nothing in this list was seen that often', {
        hint: 'Give a smaller number for --at-least.',
      });
    await syncDirectory(folder);
    return { ...facts, sizeBytes: (await file.stat()).size };
  } catch (error) {
    throw explainWriteError(error, path);
  } finally {
    await file.close();
  }
}

/** Refused before hours of work, not after. */
async function requireSpace(folder: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (neededBytes + SPARE_BYTES < bavail * bsize) return;
  throw new HoldfastError('no_space', 'The disk of the data folder has not enough room for this list', {
    hint: `It takes up to ${Math.ceil(neededBytes / 1024 ** 2)} MiB, and 1 GiB stays free. Take only what was seen often: --at-least 10.`,
  });
}

/** Takes away what earlier lists, or ones that were broken off, left. */
async function sweep(folder: string, keep: (string | undefined)[]): Promise<void> {
  for (const name of await readdir(folder))
    if (name.startsWith('leaked-') && !keep.includes(name)) await rm(join(folder, name), { force: true });
}

async function givenListPath(deps: LeakDeps): Promise<string | undefined> {
  const row = await findLeakedList(deps.db);
  return row === undefined ? undefined : join(dataPaths(deps.dataDir).passwords, row.file_name);
}

/** The file is in no snapshot: after a restore onto another machine the row is there without it. */
function falseWhenGone(error: unknown): false {
  if (isSystemError(error, 'ENOENT')) return false;
  throw error;
}
