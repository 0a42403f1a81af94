/** Gathers what tiles lack and what is in them too much, and tells at the end which of it only stands in the wrong place. */
import type { FindingList } from './findings.ts';
import type { TileDifference } from './match-tile.ts';

interface Difference {
  position: number;
  kind: 'edited' | 'missing' | 'strange';
  stored: string | undefined;
  found: string | undefined;
}

/** A log with more differences than this is lost anyway; what comes after is named without looking elsewhere for it. */
const MOST_KEPT = 100_000;

export interface MovedEntries {
  /** @param first position of the tile's first place. */
  add(first: number, difference: TileDifference): void;
  /** Names everything, in the order of the log. */
  settle(findings: FindingList): void;
}

export function gatherMovedEntries(): MovedEntries {
  const kept: Difference[] = [];
  const moved: { position: number; at: number }[] = [];
  let beyond = 0;
  const keep = (one: Difference) => {
    if (kept.length < MOST_KEPT) kept.push(one);
    else beyond += 1;
  };
  return {
    add(first, { edited, missing, strange, moved: within }) {
      for (const { at, stored, found } of edited) {
        keep({ position: first + at, kind: 'edited', stored: key(stored), found: key(found) });
      }
      for (const { at, stored } of missing) {
        keep({ position: first + at, kind: 'missing', stored: key(stored), found: undefined });
      }
      for (const { at, found } of strange) {
        keep({ position: first + at, kind: 'strange', stored: undefined, found: key(found) });
      }
      for (const { at } of within) moved.push({ position: first + at, at });
    },
    settle(findings) {
      const home = new Map(
        kept.flatMap(({ stored, position }) => (stored === undefined ? [] : [[stored, position]])),
      );
      const away = new Set(kept.flatMap(({ found }) => (found === undefined ? [] : [found])));
      const named = [
        ...moved.map(({ position }) => ({
          position,
          tell: () =>
            findings.add('reordered', position, `The entry at position ${position} stands elsewhere`),
        })),
        ...kept.map((one) => ({ position: one.position, tell: () => name(one, { home, away, findings }) })),
      ].sort((a, b) => a.position - b.position);
      for (const { tell } of named) tell();
      if (beyond > 0) findings.add('edited', null, `${beyond} more entries are not as they were written`);
    },
  };
}

interface Settling {
  /** Where the entry of a hash belongs. */
  home: ReadonlyMap<string, number>;
  /** Hashes of entries that stand where they do not belong. */
  away: ReadonlySet<string>;
  findings: FindingList;
}

function name({ position, kind, stored, found }: Difference, { home, away, findings }: Settling): void {
  const belongsAt = found === undefined ? undefined : home.get(found);
  if (belongsAt !== undefined) {
    findings.add(
      'reordered',
      belongsAt,
      `The entry that belongs at position ${belongsAt} stands at ${position}`,
    );
  } else if (kind === 'edited') {
    findings.add('edited', position, `The entry at position ${position} is not what was written there`);
  } else if (kind === 'strange') {
    findings.add('added', position, `Before position ${position} stands an entry that was never in the log`);
  }
  const stands = stored !== undefined && away.has(stored);
  if (kind === 'missing' && !stands) {
    findings.add('deleted', position, `The entry at position ${position} is gone`);
  }
}

function key(hash: Buffer): string {
  return hash.toString('latin1');
}
