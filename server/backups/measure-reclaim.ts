/** What a removal would free, by the catalogue on this appliance; the target is not asked, and nothing is changed. */
import { readCatalogue, type CatalogueView } from './catalogue/open-catalogue.ts';
import { countLive, type LivePacks } from './repository/live-packs.ts';
import type { RetainedRow } from './retention-queries.ts';
import { cataloguePath, type CatalogueOwner } from './target-repository.ts';

/** Above this many chunks a page would wait too long: what was written when each snapshot was taken is told instead. */
const MOST_CHUNKS = 150_000;

interface Reclaim {
  bytes: number;
  /** False: at most so much. */
  exact: boolean;
}

export async function measureReclaim(
  { dataDir }: { dataDir: string },
  target: CatalogueOwner,
  { removed, kept }: { removed: readonly RetainedRow[]; kept: readonly RetainedRow[] },
): Promise<Reclaim> {
  if (removed.length === 0) return { bytes: 0, exact: true };
  const atMost = removed.reduce((sum, one) => sum + one.storedBytes, 0);
  const [first] = removed;
  const path = first === undefined ? '' : cataloguePath(dataDir, first.repositoryId, target);
  const bytes = readCatalogue(path, (catalogue) => measure(catalogue, { removed, kept }));
  return bytes === undefined ? { bytes: atMost, exact: false } : { bytes, exact: true };
}

/** @returns undefined when the catalogue does not know enough, or too much to look through. */
function measure(
  catalogue: CatalogueView,
  { removed, kept }: { removed: readonly RetainedRow[]; kept: readonly RetainedRow[] },
): number | undefined {
  if (catalogue.count() > MOST_CHUNKS) return undefined;
  const packs = [...catalogue.packs()];
  const treePacks = new Set(packs.filter((pack) => pack.kind === 'tree').map((pack) => pack.row));
  const needed = (rows: readonly RetainedRow[]): ReadonlySet<number> | undefined => {
    const live: LivePacks = { packs: new Set(), segments: new Set(), missingChunks: 0 };
    for (const row of rows) {
      const record = catalogue.findSnapshot({ number: row.number, sha256: row.id });
      if (record === undefined) return undefined;
      for (const { chunk } of record.sections.flatMap((section) => section.segments)) {
        if (!catalogue.knowsSegment(chunk)) return undefined;
        countLive(catalogue, treePacks, Buffer.from(chunk, 'hex'), live);
      }
    }
    return live.packs;
  };
  const before = needed([...removed, ...kept]);
  const after = needed(kept);
  if (before === undefined || after === undefined) return undefined;
  return packs
    .filter((pack) => before.has(pack.row) && !after.has(pack.row))
    .reduce((sum, pack) => sum + pack.sizeBytes, 0);
}
