/**
 * What a repository on another target lacks of a snapshot: the packs that hold chunks which are not there. Told from the catalogues, without
 * a key; only a file list that neither catalogue knows has to be read and opened.
 */
import type { Catalogue, PackState } from '../catalogue/catalogue.ts';
import { ID_BYTES } from '../catalogue/chunk-list.ts';
import type { CatalogueView } from '../catalogue/open-catalogue.ts';
import type { RepositoryReadKeys, SnapshotRecord, Target } from '../engine.ts';
import { packName } from '../objects/object-names.ts';
import { openPackReader } from '../pipeline/pack-reader.ts';
import { learnSegment } from './live-packs.ts';

/** Where a snapshot is copied from. It is only read. */
export interface CopySource {
  /** For people. */
  name: string;
  target: Target;
  catalogue: CatalogueView;
}

export interface CopyPlan {
  packs: { row: number; id: string; sizeBytes: number }[];
  bytes: number;
  /** Names of packs that are needed, and damaged or gone at the source; with `missingChunks`, what is in no pack there. */
  damaged: string[];
  missingChunks: number;
}

/** The destination, as far as planning changes it: what file lists name is noted in its catalogue. */
export interface CopyPlace {
  catalogue: Catalogue;
  keys: RepositoryReadKeys;
}

/** @throws wrong_key when a file list would have to be read and there is no key; integrity_failure when one cannot be. */
export async function planCopy(
  source: CopySource,
  place: CopyPlace,
  record: SnapshotRecord,
): Promise<CopyPlan> {
  const walk = openWalk(source, place);
  const reader = openPackReader(source.target, place.keys.generations);
  for (const segment of record.sections.flatMap((section) => section.segments)) {
    if (!source.catalogue.knowsSegment(segment.chunk) && !place.catalogue.knowsSegment(segment.chunk)) {
      await learnSegment(
        { reader, keys: place.keys, from: source.catalogue, into: place.catalogue },
        segment,
      );
    }
    walk.visit(Buffer.from(segment.chunk, 'hex'));
  }
  return walk.plan();
}

interface Pack {
  id: string;
  sizeBytes: number;
  isTree: boolean;
  state: PackState;
}

function openWalk(source: CopySource, place: CopyPlace) {
  const there = packsByRow(source.catalogue.packs());
  const here = packsByRow(place.catalogue.packs());
  const visited = new Set<string>();
  const needed = new Set<number>();
  const damaged = new Set<string>();
  let missingChunks = 0;

  const need = (id: Uint8Array): Pack | undefined => {
    const own = here.get(place.catalogue.packOfChunk(id) ?? -1);
    const row = source.catalogue.packOfChunk(id);
    const pack = row === undefined ? undefined : there.get(row);
    if (own?.state === 'present') return pack ?? own;
    if (row === undefined || pack === undefined) missingChunks++;
    else if (pack.state === 'present') needed.add(row);
    else damaged.add(packName(pack.id));
    return pack;
  };
  const visit = (ids: Uint8Array): void => {
    for (let at = 0; at < ids.length; at += ID_BYTES) {
      const id = ids.subarray(at, at + ID_BYTES);
      // Only what lies in a pack of file lists can name other chunks.
      if (need(id)?.isTree === false) continue;
      const hex = Buffer.from(id.buffer, id.byteOffset, ID_BYTES).toString('hex');
      if (visited.has(hex)) continue;
      visited.add(hex);
      noteAs(source.catalogue, place.catalogue, hex);
      if (!place.catalogue.knowsSegment(hex)) continue;
      for (const listed of [...place.catalogue.segmentChunks(hex)]) visit(listed);
    }
  };
  return {
    visit,
    plan(): CopyPlan {
      const packs = [...needed]
        .sort((a, b) => a - b)
        .flatMap((row) => {
          const pack = there.get(row);
          return pack === undefined ? [] : [{ row, id: pack.id, sizeBytes: pack.sizeBytes }];
        });
      const bytes = packs.reduce((sum, pack) => sum + pack.sizeBytes, 0);
      return { packs, bytes, damaged: [...damaged], missingChunks };
    },
  };
}

function packsByRow(packs: ReturnType<CatalogueView['packs']>): Map<number, Pack> {
  const found = new Map<number, Pack>();
  for (const { row, id, sizeBytes, kind, state } of packs) {
    found.set(row, { id, sizeBytes, state, isTree: kind === 'tree' });
  }
  return found;
}

/** So that forget and prune work there without any key. */
function noteAs(from: CatalogueView, into: Catalogue, segment: string): void {
  if (into.knowsSegment(segment) || !from.knowsSegment(segment)) return;
  into.noteSegment(segment, idsOf(from.segmentChunks(segment)));
}

function* idsOf(lists: Iterable<Uint8Array>): Iterable<string> {
  for (const list of lists) {
    const bytes = Buffer.from(list.buffer, list.byteOffset, list.length);
    for (let at = 0; at < bytes.length; at += ID_BYTES) yield bytes.toString('hex', at, at + ID_BYTES);
  }
}
