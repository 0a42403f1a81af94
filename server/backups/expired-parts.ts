/**
 * Snapshots of which a target keeps only some parts. What is gone stands in the signed head; everything that reads a snapshot is given
 * one without it, so that nothing takes it for damage, and nothing that needs it begins.
 */
import { HoldfastError } from '../lib/errors.ts';
import type { SnapshotRecord, SourceSection } from './engine.ts';
import type { ExpiredParts } from './objects/head-object.ts';
import type { ObjectReference } from './objects/object-names.ts';
import { isSmallPart } from './retention/parts.ts';

/** @param record whole, as its object says. */
export function withoutExpired(record: SnapshotRecord, expired: readonly ExpiredParts[]): SnapshotRecord {
  const gone = new Map<string, ExpiredParts>();
  for (const parts of expired) {
    if (parts.snapshot.sha256 !== record.id || parts.snapshot.number !== record.number) continue;
    for (const name of parts.sections) if (!gone.has(name)) gone.set(name, parts);
  }
  if (gone.size === 0) return record;
  return {
    ...record,
    sections: record.sections.filter((section) => !gone.has(section.name)),
    expired: record.sections.flatMap((section) => {
      const parts = gone.get(section.name);
      return parts === undefined ? [] : { section, at: parts.at, because: parts.because };
    }),
  };
}

/** As its object says. */
export function wholeRecord({ expired = [], ...record }: SnapshotRecord): SnapshotRecord {
  return { ...record, sections: [...record.sections, ...expired.map((one) => one.section)] };
}

/** As a head says it. */
export function expiredPartsOf({ id, number, expired = [] }: SnapshotRecord): ExpiredParts[] {
  return expired.map(({ section, at, because }) => ({
    snapshot: { number, sha256: id },
    sections: [section.name],
    at,
    because,
  }));
}

/** Only its small parts are left: it restores no appliance. */
export function isReduced({ expired = [] }: SnapshotRecord): boolean {
  return expired.some((one) => !isSmallPart(one.section.name));
}

/** Those of these snapshots that a head says have only their small parts left. */
export function isReducedBy(expired: readonly ExpiredParts[], { sha256, number }: ObjectReference): boolean {
  return expired.some(
    ({ snapshot, sections }) =>
      snapshot.sha256 === sha256 && snapshot.number === number && !sections.every(isSmallPart),
  );
}

/** @returns why a snapshot has this part no more, for people; undefined when that is not it. */
export function whyExpired(snapshot: SnapshotRecord, name: string): HoldfastError | undefined {
  const gone = snapshot.expired?.find((one) => one.section.name === name);
  if (gone === undefined) return undefined;
  const left = snapshot.sections.map((section) => section.name).join(', ');
  return new HoldfastError(
    'wrong_state',
    `Of snapshot ${String(snapshot.number)} the part "${name}" is kept no more since ${gone.at.slice(0, 10)}: ${gone.because}`,
    {
      hint: `Nothing was fetched. What is left of it here: ${left}. Choose a newer snapshot, or another target that keeps this one longer.`,
    },
  );
}

/** @throws HoldfastError `wrong_state` when one of these parts has expired. */
export function requireKept(snapshot: SnapshotRecord, names: readonly string[]): void {
  for (const name of names) {
    const why = whyExpired(snapshot, name);
    if (why !== undefined) throw why;
  }
}

/** A part of it, by its name. @throws HoldfastError `wrong_state` when it has expired, else `missing` when there is none. */
export function partOf(snapshot: SnapshotRecord, name: string, missing: () => HoldfastError): SourceSection {
  const section = snapshot.sections.find((one) => one.name === name);
  if (section !== undefined) return section;
  throw whyExpired(snapshot, name) ?? missing();
}
