/** What a removal would free, by the catalogue on this appliance; the target is not asked, and nothing is changed. */
import type { PackSummary } from './catalogue/catalogue.ts';
import { readCatalogue, type CatalogueView } from './catalogue/open-catalogue.ts';
import { countLive, type LivePacks } from './repository/live-packs.ts';
import type { ObjectLock } from './engine.ts';
import { packName } from './objects/object-names.ts';
import type { RetainedRow } from './retention-queries.ts';
import { cataloguePath, type CatalogueOwner } from './target-repository.ts';
import { lockEnd } from './targets/s3/lock-times.ts';

/** Above this many chunks a page would wait too long: what was written when each snapshot was taken is told instead. */
const MOST_CHUNKS = 150_000;

interface Reclaim {
  bytes: number;
  /** False: at most so much. */
  exact: boolean;
  /** What the target keeps of it for longer than the day that prune waits, and when the last of those locks ends. */
  held?: { bytes: number; until: Date; exact: boolean };
}

interface Removal {
  removed: readonly RetainedRow[];
  kept: readonly RetainedRow[];
  /** Parts of a kept one that go. */
  expires(snapshotId: string): readonly string[];
  /** Of a target that locks what it holds. */
  lock?: ObjectLock | undefined;
  now: Date;
}

const DAY_MS = 86_400_000;

export async function measureReclaim(
  { dataDir }: { dataDir: string },
  target: CatalogueOwner,
  removal: Removal,
): Promise<Reclaim> {
  const { kept, expires, lock, now } = removal;
  const removed = [...removal.removed, ...kept.filter((one) => expires(one.id).length > 0)];
  const [first] = removed;
  if (first === undefined) return { bytes: 0, exact: true };
  const path = cataloguePath(dataDir, first.repositoryId, target);
  const measured = readCatalogue(path, (catalogue) => measure(catalogue, removal));
  if (measured !== undefined) return measured;
  const bytes = removed.reduce((sum, one) => sum + one.storedBytes, 0);
  if (lock === undefined) return { bytes, exact: false };
  const until = readCatalogue(path, (catalogue) => latestEnd(catalogue, lock, now)) ?? lockEnd(lock, now);
  return { bytes, exact: false, held: { bytes, until, exact: false } };
}

/** @returns undefined when the catalogue does not know enough, or too much to look through. */
function measure(
  catalogue: CatalogueView,
  { removed, kept, expires, lock, now }: Removal,
): Reclaim | undefined {
  if (catalogue.count() > MOST_CHUNKS) return undefined;
  const packs = [...catalogue.packs()];
  const treePacks = new Set(packs.filter((pack) => pack.kind === 'tree').map((pack) => pack.row));
  const needed = (
    rows: readonly RetainedRow[],
    without: Removal['expires'],
  ): ReadonlySet<number> | undefined => {
    const live: LivePacks = { packs: new Set(), segments: new Set(), missingChunks: 0 };
    for (const row of rows) {
      const record = catalogue.findSnapshot({ number: row.number, sha256: row.id });
      if (record === undefined) return undefined;
      const sections = record.sections.filter((section) => !without(row.id).includes(section.name));
      for (const { chunk } of sections.flatMap((section) => section.segments)) {
        if (!catalogue.knowsSegment(chunk)) return undefined;
        countLive(catalogue, treePacks, Buffer.from(chunk, 'hex'), live);
      }
    }
    return live.packs;
  };
  const before = needed([...removed, ...kept], () => []);
  const after = needed(kept, expires);
  if (before === undefined || after === undefined) return undefined;
  const freed = packs.filter((pack) => before.has(pack.row) && !after.has(pack.row));
  const held = lock === undefined ? undefined : heldOf(catalogue, freed, lock, now);
  return { bytes: sumOf(freed), exact: true, ...(held === undefined ? {} : { held }) };
}

/** @returns undefined when nothing is. */
function heldOf(
  catalogue: CatalogueView,
  freed: readonly PackSummary[],
  lock: ObjectLock,
  now: Date,
): Reclaim['held'] {
  const latest = latestEnd(catalogue, lock, now);
  const locks = freed
    .map((pack) => ({ pack, known: catalogue.lockOf(packName(pack.id)) }))
    .filter(({ known }) => (known ?? latest).getTime() > now.getTime() + DAY_MS);
  if (locks.length === 0) return undefined;
  return {
    bytes: sumOf(locks.map(({ pack }) => pack)),
    until: new Date(Math.max(...locks.map(({ known }) => (known ?? latest).getTime()))),
    exact: locks.every(({ known }) => known !== undefined),
  };
}

/** Of what is not known how long it is locked: as what is written now, or as the longest of others, from when locks were longer. */
function latestEnd(catalogue: CatalogueView, lock: ObjectLock, now: Date): Date {
  const end = lockEnd(lock, now);
  const known = catalogue.latestLock();
  return known !== undefined && known > end ? known : end;
}

const sumOf = (packs: readonly PackSummary[]) => packs.reduce((sum, pack) => sum + pack.sizeBytes, 0);
