/**
 * The section `appliance`: what the database says at the restore point in a form that needs no database to read. Folders,
 * files with their wrapped keys, workspaces and the appliance's own facts, as JSON Lines; names stay sealed. It serves
 * browsing a snapshot, restoring one file, and restoring without Holdfast.
 *
 * Nodes are spread over 256 files by the first byte of their folder's id: a folder is listed by reading one of them, and
 * those that did not change are not stored again.
 */
import type { ClientBase } from 'pg';
import type { FileEntry, SourceSection, SourceWriter } from './engine.ts';
import {
  readApplianceFacts,
  streamFolders,
  streamNodes,
  streamWorkspaces,
  type FolderLine,
  type NodeLine,
} from './appliance-queries.ts';

export const APPLIANCE_SECTION = 'appliance';
export const FOLDERS_FILE = 'folders.jsonl';
export const NODES_FOLDER = 'nodes';

const CHUNK_BYTES = 512 * 1024;

/** Path of the file that lists the nodes of a folder. */
export function nodesFile(folderId: string): string {
  return `nodes/${folderId.slice(0, 2)}.jsonl`;
}

/** @param reader a connection that sees exactly the rows of the restore point. */
export async function copyApplianceFacts(
  writer: SourceWriter,
  reader: ClientBase,
  facts: { applianceId: string; softwareVersion: string },
): Promise<SourceSection> {
  await writer.addEntry({ type: 'directory', path: 'nodes', mode: 0o700 });
  await addLines(writer, 'appliance.json', [{ ...facts, ...(await readApplianceFacts(reader)) }]);
  await addLines(writer, 'workspaces.jsonl', streamWorkspaces(reader));
  await addLines(writer, FOLDERS_FILE, streamFolders(reader));
  for (let first = 0; first < 256; first += 1) {
    const prefix = first.toString(16).padStart(2, '0');
    const nodes = streamNodes(reader, prefix);
    const next = await nodes.next();
    if (next.done !== true) await addLines(writer, `nodes/${prefix}.jsonl`, withFirst(next.value, nodes));
  }
  return writer.finish();
}

async function* withFirst(first: NodeLine, rest: AsyncIterable<NodeLine>): AsyncIterable<NodeLine> {
  yield first;
  yield* rest;
}

async function addLines(
  writer: SourceWriter,
  path: string,
  lines: AsyncIterable<object> | Iterable<object>,
): Promise<void> {
  const entry: FileEntry = { type: 'file', path, mode: 0o600 };
  await writer.addFile(entry, encodeLines(lines), { chunkBytes: CHUNK_BYTES });
}

async function* encodeLines(lines: AsyncIterable<object> | Iterable<object>): AsyncIterable<Uint8Array> {
  let text = '';
  for await (const line of lines) {
    text += `${JSON.stringify(line)}\n`;
    if (text.length > 256 * 1024) {
      yield Buffer.from(text);
      text = '';
    }
  }
  if (text !== '') yield Buffer.from(text);
}

/** Lines of a JSON Lines file as they are read. */
export async function* decodeLines<Line extends object = FolderLine | NodeLine>(
  content: AsyncIterable<Uint8Array>,
): AsyncIterable<Line> {
  let rest = Buffer.alloc(0);
  for await (const part of content) {
    rest = rest.length === 0 ? Buffer.from(part) : Buffer.concat([rest, part]);
    let from = 0;
    for (let at = rest.indexOf(10); at >= 0; at = rest.indexOf(10, from)) {
      yield JSON.parse(rest.toString('utf8', from, at)) as Line;
      from = at + 1;
    }
    rest = rest.subarray(from);
  }
}
