/**
 * Entries that are gone because their period has ended. Their stubs are in the tree, so what they say of time and kind is as it was
 * written; who removed one before the shortest period that can be set is named.
 */
import type { EntryKind, EntryStub } from '../entry-leaf.ts';
import { SHORTEST_DAYS } from '../schema.ts';
import type { FindingList } from './findings.ts';

const DAY_MS = 86_400_000;

export interface ExpiryWatch {
  readonly count: number;
  add(stub: EntryStub, position: number): void;
  /** @param latest when the newest checkpoint was signed, in milliseconds. */
  settle(findings: FindingList, latest: number): void;
}

export function watchExpiry(): ExpiryWatch {
  let count = 0;
  const youngest = new Map<EntryKind, { time: number; position: number }>();
  return {
    get count() {
      return count;
    },
    add({ kind, at }, position) {
      count += 1;
      const time = Date.parse(at);
      if (time > (youngest.get(kind)?.time ?? -Infinity)) youngest.set(kind, { time, position });
    },
    settle(findings, latest) {
      for (const [kind, { time, position }] of youngest) {
        const days = SHORTEST_DAYS[kind];
        if (latest - time >= days * DAY_MS) continue;
        const message = `The entry at position ${position}, of ${new Date(time).toISOString()}, was removed before the ${days} days for which a${kind === 'act' ? 'n act' : ' reading'} is kept at least`;
        findings.add('deleted', position, message);
      }
    },
  };
}

/** @returns undefined for what is none. */
export function readStub(value: unknown): EntryStub | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { number, at, kind, body } = value as Record<string, unknown>;
  const whole =
    typeof number === 'string' &&
    typeof at === 'string' &&
    !Number.isNaN(Date.parse(at)) &&
    (kind === 'act' || kind === 'read') &&
    typeof body === 'string';
  return whole ? { number, at, kind, body } : undefined;
}
