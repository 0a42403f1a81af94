/**
 * Names of files, folders and workspaces: what a name may be, and how it is sealed. Names are kept byte for byte: no
 * Unicode normalisation, no trimming; control characters are allowed because files on disk have them.
 */
import type { FieldContext } from '../keys/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { checkShownName } from '../lib/shown-name.ts';
import type { WorkspaceDeps } from './deps.ts';

const MAX_NAME_BYTES = 255;

/** Why a name cannot be one part of a path, or undefined when it can. */
export function nameProblem(name: string): string | undefined {
  if (name === '') return 'it is empty';
  if (name === '.' || name === '..') return 'it means this folder or the one above';
  if (name.includes('/')) return 'it holds a slash';
  if (name.includes('\0')) return 'it holds a NUL character';
  if (!name.isWellFormed()) return 'it is not valid Unicode';
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return `it is longer than ${MAX_NAME_BYTES} bytes`;
  return undefined;
}

/** @throws HoldfastError `invalid_input` */
export function requireName(name: string): void {
  const problem = nameProblem(name);
  if (problem === undefined) return;
  throw new HoldfastError('invalid_input', `This name cannot be used: ${problem}`, {
    hint: `A name has 1 to ${MAX_NAME_BYTES} bytes of UTF-8, without "/" and NUL, and is not "." or "..".`,
  });
}

/**
 * The name of a workspace as it is kept. Unlike files, workspaces are named by people and for people; its top folder has the name too.
 *
 * @throws HoldfastError `invalid_input`
 */
export function checkWorkspaceName(wanted: string): string {
  const name = checkShownName(wanted);
  requireName(name);
  return name;
}

/** A name with a number before its ending, for when the name is taken: `report (2).pdf`. */
export function numberedName(name: string, number: number): string {
  const dot = name.lastIndexOf('.');
  const ending = dot > 0 && Buffer.byteLength(name.slice(dot)) <= 32 ? name.slice(dot) : '';
  const suffix = ` (${number})${ending}`;
  const characters = Array.from(name.slice(0, name.length - ending.length));
  while (Buffer.byteLength(characters.join('') + suffix) > MAX_NAME_BYTES) characters.pop();
  return characters.join('') + suffix;
}

/** The context that a node's name is sealed in. */
export function nodeNameContext(workspaceId: string, nodeId: string): FieldContext {
  return { type: 'node-name', workspaceId, subjectId: '', objectId: nodeId, version: '' };
}

/** The context that a workspace's name is sealed in. */
export function workspaceNameContext(workspaceId: string): FieldContext {
  return { type: 'workspace-name', workspaceId, subjectId: '', objectId: workspaceId, version: '' };
}

/** The context of the blind index that keeps names unique within a folder. */
export function nameIndexContext(parentId: string): string {
  return `node-name:${parentId}`;
}

/** Opens names that may be damaged one by one: such a node must still be listed, renamed and deleted. */
export async function openNodeNames(
  deps: Pick<WorkspaceDeps, 'sealer'>,
  keyId: string,
  nodes: readonly { id: string; workspace_id: string; name_sealed: Buffer }[],
): Promise<string[]> {
  const opened = await deps.sealer.tryOpen(
    nodes.map((node) => ({
      keyId,
      purpose: 'names' as const,
      context: nodeNameContext(node.workspace_id, node.id),
      sealed: node.name_sealed,
    })),
  );
  return opened.map((name, index) => {
    if (!(name instanceof Error)) return name.toString('utf8');
    if (name instanceof HoldfastError && name.code === 'integrity_failure') {
      return `unreadable-${nodes[index]?.id.slice(0, 8) ?? ''}`;
    }
    throw name;
  });
}

/** Names of workspaces by their ids, opened together. */
export async function openWorkspaceNames(
  deps: Pick<WorkspaceDeps, 'keys'> & { sealer: Pick<WorkspaceDeps['sealer'], 'tryOpen'> },
  rows: readonly { id: string; name_sealed: Buffer }[],
): Promise<Map<string, string>> {
  const keyIdOf = await Promise.all(rows.map((row) => nameKeyId(deps, row.id)));
  const opened = await deps.sealer.tryOpen(
    rows.map((row, index) => ({
      ...{ keyId: keyIdOf[index] ?? '', purpose: 'names' as const, sealed: row.name_sealed },
      context: workspaceNameContext(row.id),
    })),
  );
  return new Map(
    rows.map((row, index) => {
      const name = opened[index];
      return [row.id, Buffer.isBuffer(name) ? name.toString('utf8') : '(unreadable)'];
    }),
  );
}

const keyIds = new Map<string, string>();
const MAX_CACHED_KEY_IDS = 10_000;

/** Id of a workspace's key; it never changes. */
export async function nameKeyId(deps: Pick<WorkspaceDeps, 'keys'>, workspaceId: string): Promise<string> {
  const known = keyIds.get(workspaceId);
  if (known !== undefined) return known;
  const { id } = await deps.keys.workspaceKey(workspaceId);
  if (keyIds.size >= MAX_CACHED_KEY_IDS) keyIds.clear();
  keyIds.set(workspaceId, id);
  return id;
}
