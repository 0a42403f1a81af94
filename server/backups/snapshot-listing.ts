/** Reads the section `appliance` of a snapshot: folders, and the nodes of one folder. Names come out as sealed as they lie. */
import { HoldfastError } from '../lib/errors.ts';
import { APPLIANCE_SECTION, decodeLines, FOLDERS_FILE, NODES_FOLDER, nodesFile } from './appliance-source.ts';
import type { FolderLine, NodeLine } from './appliance-queries.ts';
import type { SnapshotRecord, SourceSection } from './engine.ts';
import { partOf } from './expired-parts.ts';
import type { ChunkReader } from './pipeline/chunk-reader.ts';

/** More nodes in one folder than this are cut off, and the listing says so. */
const MOST_NODES = 200_000;

export interface SnapshotListing {
  /** Every folder of every workspace, by id. */
  folders(): Promise<ReadonlyMap<string, FolderLine>>;
  /** The nodes in a folder, for showing; empty for one that has none, cut off at `MOST_NODES`. */
  nodes(folderId: string): Promise<NodeLine[]>;
  /** The nodes in a folder, however many. */
  eachNode(folderId: string): AsyncIterable<NodeLine>;
  /** Every node of every folder, in one pass. */
  allNodes(): AsyncIterable<NodeLine>;
}

/** @throws HoldfastError `wrong_state` when the snapshot is of something else than an appliance. */
export function openSnapshotListing(reader: ChunkReader, snapshot: SnapshotRecord): SnapshotListing {
  const section = requireSection(snapshot, APPLIANCE_SECTION);
  let folders: Promise<Map<string, FolderLine>> | undefined;
  async function* eachNode(folderId: string): AsyncIterable<NodeLine> {
    for await (const line of readLines<NodeLine>(reader, section, nodesFile(folderId)))
      if (line.parentId === folderId) yield line;
  }
  return {
    folders: () => (folders ??= readFolders(reader, section)),
    nodes: async (folderId) => {
      const nodes: NodeLine[] = [];
      for await (const line of eachNode(folderId)) if (nodes.push(line) >= MOST_NODES) break;
      return nodes;
    },
    eachNode,
    allNodes: () => readLines<NodeLine>(reader, section, NODES_FOLDER),
  };
}

export function requireSection(snapshot: SnapshotRecord, name: string): SourceSection {
  const detail = `no section ${name}`;
  const message = 'This snapshot does not hold the files of an appliance';
  return partOf(snapshot, name, () => new HoldfastError('wrong_state', message, { detail }));
}

async function readFolders(reader: ChunkReader, section: SourceSection): Promise<Map<string, FolderLine>> {
  const folders = new Map<string, FolderLine>();
  for await (const line of readLines<FolderLine>(reader, section, FOLDERS_FILE)) folders.set(line.id, line);
  return folders;
}

async function* readLines<Line extends FolderLine | NodeLine>(
  reader: ChunkReader,
  section: SourceSection,
  path: string,
): AsyncIterable<Line> {
  for await (const entry of reader.listEntries(section, { under: path })) {
    if (entry.type === 'file') yield* decodeLines<Line>(reader.readFile(entry));
  }
}
