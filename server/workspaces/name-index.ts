/**
 * Names are sealed, so the database cannot see that two of one folder are equal; a blind index beside them can. Its table
 * is not logged: a crash of the database or a restore empties it, and what leaks by its look-ups is in no backup.
 *
 * Guarantees: no name is given while the index is not whole. A sentinel row, written last by the rebuild and lost with all
 * others, tells; every transaction that gives a name looks for it first, also when the database crashed beneath a running
 * server.
 */
import { sqlState, writeTransaction, type WriteTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { WorkspaceDeps } from './deps.ts';
import { nameIndexContext, nameKeyId, openNodeNames } from './names.ts';
import {
  clearNameIndex,
  completeNameIndex,
  insertNames,
  isNameIndexWhole,
  listNodesByName,
  listNodesByPlace,
  listNodesForIndex,
  startNameIndex,
  type NodeRow,
} from './queries.ts';

type IndexDeps = Pick<WorkspaceDeps, 'db' | 'keys' | 'sealer' | 'log'>;

const BATCH = 2_000;
const MAX_ATTEMPTS = 4;
const FOREIGN_KEY_VIOLATION = '23503';
const DEADLOCK = '40P01';
const LOST = Symbol('the name index is not whole');

/**
 * A write transaction in which names may be given; `act` may be called again after a deadlock.
 *
 * @throws not_found when the folder was deleted meanwhile
 */
export async function namingTransaction<T>(
  deps: IndexDeps,
  act: (tx: WriteTransaction) => Promise<T>,
): Promise<T> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    try {
      const result = await writeTransaction(deps.db, async (tx) =>
        (await isNameIndexWhole(tx)) ? { value: await act(tx) } : LOST,
      );
      if (result !== LOST) return result.value;
      await rebuildNameIndex(deps);
    } catch (error) {
      if (sqlState(error) === FOREIGN_KEY_VIOLATION) throw folderGone(error);
      if (sqlState(error) !== DEADLOCK || attempt === MAX_ATTEMPTS - 1) throw error;
    }
  }
  throw new HoldfastError('unavailable', 'The index of names cannot be kept', {
    hint: 'The database keeps crashing: look at its log.',
  });
}

function folderGone(cause: unknown): HoldfastError {
  return new HoldfastError('not_found', 'The folder was deleted meanwhile', {
    hint: 'Choose another folder.',
    cause,
  });
}

/** The index value of each name in a folder, in order. */
export async function nameHashes(
  deps: Pick<WorkspaceDeps, 'keys' | 'sealer'>,
  workspaceId: string,
  parentId: string,
  names: readonly string[],
): Promise<Buffer[]> {
  const keyId = await nameKeyId(deps, workspaceId);
  const context = nameIndexContext(parentId);
  return deps.sealer.blindIndexes(
    keyId,
    names.map((value) => ({ context, value })),
  );
}

/** A name in a folder, with its index value and the node that has it. */
export interface TakenPlace {
  hash: Buffer;
  node: NodeRow | undefined;
}

/** For many names in many folders of one workspace at once, in order. */
export async function findNodesByPlace(
  deps: IndexDeps,
  workspaceId: string,
  places: readonly { folderId: string; name: string }[],
): Promise<TakenPlace[]> {
  await ensureNameIndex(deps);
  const keyId = await nameKeyId(deps, workspaceId);
  const hashes = await deps.sealer.blindIndexes(
    keyId,
    places.map(({ folderId, name }) => ({ context: nameIndexContext(folderId), value: name })),
  );
  const asked = places.map(({ folderId }, index) => ({
    parentId: folderId,
    hash: hashes[index] ?? Buffer.alloc(0),
  }));
  const found = asked.length === 0 ? [] : await listNodesByPlace(deps.db, asked);
  const keyOf = (parentId: string | null, hash: Buffer) => `${parentId} ${hash.toString('hex')}`;
  const nodes = new Map(found.map((node) => [keyOf(node.parent_id, node.name_hash), node]));
  return asked.map(({ parentId, hash }) => ({ hash, node: nodes.get(keyOf(parentId, hash)) }));
}

/** The node of that name in a folder. */
export async function findNodeByName(
  deps: IndexDeps,
  folder: { id: string; workspace_id: string },
  name: string,
): Promise<NodeRow | undefined> {
  await ensureNameIndex(deps);
  const [hash] = await nameHashes(deps, folder.workspace_id, folder.id, [name]);
  return hash === undefined ? undefined : (await listNodesByName(deps.db, folder.id, [hash]))[0];
}

/** Rebuilds the index when it is not whole. @returns how many names were entered; undefined when there was nothing to do. */
export async function ensureNameIndex(deps: IndexDeps): Promise<number | undefined> {
  return (await isNameIndexWhole(deps.db)) ? undefined : rebuildNameIndex(deps);
}

/**
 * Fills the index from the sealed names. Others that want to give a name wait.
 *
 * @returns how many names were entered; undefined when another process had just done it.
 */
async function rebuildNameIndex(deps: IndexDeps): Promise<number | undefined> {
  return writeTransaction(deps.db, async (tx) => {
    await startNameIndex(tx);
    if (await isNameIndexWhole(tx)) return undefined;
    await clearNameIndex(tx);
    let entered = 0;
    let afterId: string | undefined;
    for (;;) {
      const nodes = await listNodesForIndex(tx, afterId, BATCH);
      const rows = await indexRows(deps, nodes);
      const given = rows.length === 0 ? new Set<string>() : await insertNames(tx, rows);
      entered += given.size;
      const lost = rows.filter((row) => !given.has(row.node_id)).map((row) => row.node_id);
      if (lost.length > 0) deps.log.error({ nodeIds: lost.slice(0, 20) }, 'Names occur twice in one folder');
      afterId = nodes.at(-1)?.id;
      if (nodes.length < BATCH) break;
    }
    await completeNameIndex(tx);
    return entered;
  });
}

async function indexRows(deps: IndexDeps, nodes: Awaited<ReturnType<typeof listNodesForIndex>>) {
  const rows: { parent_id: string; name_hash: Buffer; node_id: string }[] = [];
  for (const workspaceId of new Set(nodes.map((node) => node.workspace_id))) {
    const mine = nodes.filter((node) => node.workspace_id === workspaceId);
    const keyId = await nameKeyId(deps, workspaceId);
    const names = await openNodeNames(deps, keyId, mine);
    const values = mine.map((node, index) => ({
      context: nameIndexContext(node.parent_id ?? ''),
      value: names[index] ?? '',
    }));
    const hashes = await deps.sealer.blindIndexes(keyId, values);
    mine.forEach((node, index) => {
      const hash = hashes[index];
      if (hash && node.parent_id) rows.push({ parent_id: node.parent_id, name_hash: hash, node_id: node.id });
    });
  }
  return rows;
}
