/**
 * One page of a folder. Names are sealed, so the database cannot sort or search them: all of the folder is read through in
 * batches, opened, and only the page that was asked for is kept, so memory does not grow with the folder.
 */
import { setImmediate } from 'node:timers/promises';
import { HoldfastError } from '../lib/errors.ts';
import type { WorkspaceDeps } from './deps.ts';
import { requireFolder, type Visitor } from './members.ts';
import { nameKeyId, openNodeNames } from './names.ts';
import { toNode } from './node-shape.ts';
import { listAncestors, listChildren, type NodeRow } from './queries.ts';
import type { FolderPage, FolderQuery } from './schema.ts';

const BATCH = 1_000;
/** A page keeps this many times its length before it is cut back. */
const SLACK = 4;

interface NamedNode {
  row: NodeRow;
  name: string;
}

/** What decides the place of a node in a list. */
interface SortKey {
  folder: boolean;
  /** A name, or a decimal number. */
  value: string;
  id: string;
}

type Sort = NonNullable<FolderQuery['sort']>;

const SORT_CODES: Record<Sort, number> = { name: 1, size: 2, modified: 3 };
const collator = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

/** Folders come first in every order. @throws not_found, invalid_input for a cursor of another list */
export async function listFolder(
  deps: WorkspaceDeps,
  folderId: string,
  query: FolderQuery,
  visitor: Visitor,
): Promise<FolderPage> {
  const folder = await requireFolder(deps.db, folderId, visitor, 'viewer');
  const keyId = await nameKeyId(deps, folder.workspace_id);
  const { sort = 'name', order = 'asc', limit = 100, search } = query;
  const compare = comparison(sort, order);
  const after =
    query.cursor === undefined ? undefined : await openCursor(deps, keyId, folder, sort, query.cursor);

  let page: NamedNode[] = [];
  let total = 0;
  for await (const batch of readFolder(deps, keyId, folderId)) {
    const found = search === undefined || search === '' ? batch : batch.filter(matching(search));
    total += found.length;
    page.push(...found.filter((node) => after === undefined || compare(keyOf(node, sort), after) > 0));
    if (page.length > limit * SLACK) page = firstOf(page, limit + 1, sort, compare);
  }
  const items = firstOf(page, limit + 1, sort, compare);
  const last = items.length > limit ? items[limit - 1] : undefined;
  return {
    folder: toNode(folder, await openName(deps, keyId, folder)),
    ancestors: await describeAncestors(deps, keyId, folderId),
    items: items.slice(0, limit).map(({ row, name }) => toNode(row, name)),
    total,
    nextCursor: last === undefined ? null : await sealCursor(deps, keyId, folder, sort, keyOf(last, sort)),
  };
}

async function* readFolder(
  deps: WorkspaceDeps,
  keyId: string,
  folderId: string,
): AsyncGenerator<NamedNode[]> {
  let afterId: string | undefined;
  for (;;) {
    const rows = await listChildren(deps.db, folderId, afterId, BATCH);
    const names = await openNodeNames(deps, keyId, rows);
    yield rows.map((row, index) => ({ row, name: names[index] ?? '' }));
    if (rows.length < BATCH) return;
    afterId = rows.at(-1)?.id;
    await setImmediate();
  }
}

function matching(search: string): (node: NamedNode) => boolean {
  const wanted = fold(search);
  return (node) => fold(node.name).includes(wanted);
}

function fold(text: string): string {
  return text.normalize('NFC').toLowerCase();
}

function firstOf(nodes: NamedNode[], count: number, sort: Sort, compare: Comparison): NamedNode[] {
  return nodes
    .map((node) => ({ node, key: keyOf(node, sort) }))
    .sort((a, b) => compare(a.key, b.key))
    .slice(0, count)
    .map(({ node }) => node);
}

type Comparison = (a: SortKey, b: SortKey) => number;

function comparison(sort: Sort, order: 'asc' | 'desc'): Comparison {
  const sign = order === 'asc' ? 1 : -1;
  const values =
    sort === 'name'
      ? (a: string, b: string) => collator.compare(a, b) || plainCompare(a, b)
      : (a: string, b: string) => {
          const difference = BigInt(a) - BigInt(b);
          return difference === 0n ? 0 : difference > 0n ? 1 : -1;
        };
  return (a, b) => {
    if (a.folder !== b.folder) return a.folder ? -1 : 1;
    return sign * (values(a.value, b.value) || plainCompare(a.id, b.id));
  };
}

function plainCompare(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

function keyOf({ row, name }: NamedNode, sort: Sort): SortKey {
  const values = { name, size: row.size_bytes ?? '0', modified: row.mtime_ns };
  return { folder: row.kind === 'folder', value: values[sort], id: row.id };
}

/** A cursor carries a name, so it is sealed like one: `sort code | folder | id | value`. */
async function sealCursor(
  deps: WorkspaceDeps,
  keyId: string,
  folder: NodeRow,
  sort: Sort,
  key: SortKey,
): Promise<string> {
  const value = Buffer.concat([
    Buffer.from([SORT_CODES[sort], key.folder ? 1 : 0]),
    Buffer.from(key.id.replaceAll('-', ''), 'hex'),
    Buffer.from(key.value, 'utf8'),
  ]);
  const [sealed] = await deps.sealer.seal([
    { keyId, purpose: 'names', context: cursorContext(folder), value },
  ]);
  return (sealed ?? Buffer.alloc(0)).toString('base64url');
}

async function openCursor(
  deps: WorkspaceDeps,
  keyId: string,
  folder: NodeRow,
  sort: Sort,
  cursor: string,
): Promise<SortKey> {
  const sealed = Buffer.from(cursor, 'base64url');
  const [opened] = await deps.sealer.tryOpen([
    { keyId, purpose: 'names', context: cursorContext(folder), sealed },
  ]);
  if (!Buffer.isBuffer(opened) || opened[0] !== SORT_CODES[sort]) {
    throw new HoldfastError('invalid_input', 'This cursor is of another list', {
      hint: 'Start again without a cursor.',
    });
  }
  const id = opened.toString('hex', 2, 18).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  return { folder: opened[1] === 1, id, value: opened.toString('utf8', 18) };
}

function cursorContext(folder: NodeRow) {
  return {
    type: 'folder-cursor',
    workspaceId: folder.workspace_id,
    subjectId: '',
    objectId: folder.id,
    version: '',
  };
}

async function describeAncestors(deps: WorkspaceDeps, keyId: string, folderId: string) {
  const chain = (await listAncestors(deps.db, folderId)).slice(0, -1);
  const names = await openNodeNames(deps, keyId, chain);
  return chain.map(({ id }, index) => ({ id, name: names[index] ?? '' }));
}

async function openName(deps: WorkspaceDeps, keyId: string, row: NodeRow): Promise<string> {
  return (await openNodeNames(deps, keyId, [row]))[0] ?? '';
}
