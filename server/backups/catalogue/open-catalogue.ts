/** Opens the catalogue's file. It is only a cache: whatever is wrong with the file, it is thrown away and begun anew. */
import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { isSystemError } from '../../lib/errors.ts';
import { PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE } from '../../lib/files.ts';
import type { ObjectReference } from '../objects/object-names.ts';
import {
  type Catalogue,
  type CatalogueView,
  explainCatalogueError,
  parseHead,
  viewCatalogue,
  wrapCatalogue,
} from './catalogue.ts';
import { CATALOGUE_VERSION, createTables } from './queries.ts';

export type { CatalogueView };

export interface OpenedCatalogue {
  catalogue: Catalogue;
  /** True when there was none that could be used: it is empty now. */
  isNew: boolean;
}

/**
 * @param path of the file; its folder is made when missing.
 * @throws no_space, unavailable when not even a new file can be written.
 */
export function openCatalogue(path: string, repositoryId: string): OpenedCatalogue {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
    const present = openUsable(path, repositoryId);
    if (present !== undefined) return { catalogue: wrapCatalogue(present), isNew: false };
    removeCatalogue(path);
    return { catalogue: wrapCatalogue(create(path, repositoryId)), isNew: true };
  } catch (error) {
    throw explainCatalogueError(error);
  }
}

/**
 * The newest head that this appliance wrote or saw, read beside a run that may be writing it: nothing is made, changed or begun
 * anew here.
 *
 * @returns undefined when there is no catalogue that can be read.
 */
export function readRememberedHead(path: string): ObjectReference | undefined {
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path, { readOnly: true });
    return parseHead(db.prepare('select value from facts where name = ?').get('head')?.value);
  } catch {
    return undefined;
  } finally {
    if (db?.isOpen === true) db.close();
  }
}

/**
 * Looks something up as it is at one moment, beside a run that may be writing.
 *
 * @returns what `read` returns; undefined when there is no catalogue of this version that can be read.
 */
export function readCatalogue<T>(path: string, read: (catalogue: CatalogueView) => T): T | undefined {
  const opened = viewCatalogueFile(path);
  try {
    return opened?.atOneMoment(() => read(opened.catalogue));
  } catch {
    return undefined;
  } finally {
    opened?.close();
  }
}

/** A catalogue that is only read, beside a run that may be writing it. */
export interface ViewedCatalogue {
  catalogue: CatalogueView;
  /** Between two such looks it may change; within one it does not. */
  atOneMoment<T>(look: () => T): T;
  close(): void;
}

/** @returns undefined when there is no catalogue of this version that can be read. */
export function viewCatalogueFile(path: string): ViewedCatalogue | undefined {
  let db: DatabaseSync | undefined;
  try {
    const file = new DatabaseSync(path, { readOnly: true });
    db = file;
    const version = file.prepare('select value from facts where name = ?').get('version')?.value;
    if (version !== String(CATALOGUE_VERSION)) throw new Error('another version');
    return {
      catalogue: viewCatalogue(file),
      atOneMoment(look) {
        file.exec('begin');
        try {
          return look();
        } finally {
          file.exec('commit');
        }
      },
      close: () => {
        if (file.isOpen) file.close();
      },
    };
  } catch {
    if (db?.isOpen === true) db.close();
    return undefined;
  }
}

/** Removes the file and what SQLite keeps beside it. */
function removeCatalogue(path: string): void {
  for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(path + suffix, { force: true });
}

function openUsable(path: string, repositoryId: string): DatabaseSync | undefined {
  let db: DatabaseSync | undefined;
  try {
    closeSync(openSync(path, 'r'));
    db = new DatabaseSync(path);
    configure(db);
    const fact = db.prepare('select value from facts where name = ?');
    const valueOf = (name: string) => fact.get(name)?.value;
    const fits =
      valueOf('version') === String(CATALOGUE_VERSION) &&
      valueOf('repository') === repositoryId &&
      (valueOf('closed') === '1' || isWhole(db));
    if (fits) return db;
  } catch (error) {
    if (isSystemError(error, 'EACCES', 'EPERM')) throw error;
    // Not a database, or not one of ours any more: begun anew by the caller.
  }
  if (db?.isOpen) db.close();
  return undefined;
}

/** Looked at only when the last user did not close it: a killed process. */
function isWhole(db: DatabaseSync): boolean {
  const [row] = db.prepare('pragma quick_check(1)').all();
  return row?.quick_check === 'ok';
}

function configure(db: DatabaseSync): void {
  db.exec('pragma busy_timeout = 10000');
  db.exec('pragma journal_mode = wal');
  db.exec('pragma synchronous = normal');
  db.exec('pragma cache_size = -16384');
}

function create(path: string, repositoryId: string): DatabaseSync {
  closeSync(openSync(path, 'wx', PRIVATE_FILE_MODE));
  const db = new DatabaseSync(path);
  configure(db);
  db.exec('begin immediate');
  db.exec(createTables);
  const insert = db.prepare('insert into facts (name, value) values (?, ?)');
  insert.run('version', String(CATALOGUE_VERSION));
  insert.run('repository', repositoryId);
  insert.run('closed', '1');
  db.exec('commit');
  return db;
}
