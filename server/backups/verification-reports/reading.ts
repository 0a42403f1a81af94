/** What one reading of a target found, all of it or a part: what a report says of it, and what is kept until a cycle is closed. Pure. */
import type { ObjectReference } from '../objects/object-names.ts';
import type { VerifyPart, VerifyReport } from '../repository/verify-repository.ts';
import type { Depth, VerificationState, VerificationSummary } from './schema.ts';

export interface FoundDamage {
  object: string;
  /** Plain words. */
  message: string;
}

/** What was brought back from another target, and from which. */
export interface MendedObject {
  object: string;
  from: { id: string; name: string };
}

export interface Reading {
  /** From 1, of so many. */
  part: number;
  of: number;
  runId: string;
  /** Version of the program that read. */
  software: string;
  /** RFC 3339, UTC. */
  startedAt: string;
  finishedAt: string;
  head: { number: number; sha256: string } | null;
  /** Listed by the head; each is checked with every part. */
  snapshots: number;
  /** Of them, those that there was no key to: counted by the catalogue, not opened. */
  closedSnapshots: number;
  /** Read byte by byte now, and of them those that no index names yet. */
  packs: number;
  bytes: number;
  unindexedPacks: number;
  /** All that the index knows on this target. */
  storedPacks: number;
  storedBytes: number;
  depth: Depth;
  /** More than are named, where the numbers say so. */
  found: FoundDamage[];
  foundCount: number;
  repaired: MendedObject[];
  repairedCount: number;
  /** Had the bytes that their names say when their turn to be repaired came. */
  foundWhole: string[];
  foundWholeCount: number;
  /** Damaged still, once everything was read again. */
  left: FoundDamage[];
  leftCount: number;
}

/** So many objects are named in one reading, and in a report of many. */
const MOST_NAMED = 100;
const MOST_NAMED_IN_ALL = 1000;
const MOST_CHARACTERS = 300;

export interface ReadNow {
  part: VerifyPart;
  runId: string;
  software: string;
  startedAt: Date;
  finishedAt: Date;
  head: ObjectReference | undefined;
  /** Before anything was repaired, and what was there in the end. */
  first: VerifyReport;
  last: VerifyReport;
  mended: readonly MendedObject[];
  untouched: readonly string[];
}

export function toReading(read: ReadNow): Reading {
  const { part, runId, software, first, last, mended } = read;
  const damaged = new Set(last.problems.map(({ object }) => object));
  const foundWhole = [...new Set(read.untouched)].filter((object) => !damaged.has(object));
  return {
    ...{ part: part.number + 1, of: part.of, runId, software },
    startedAt: read.startedAt.toISOString(),
    finishedAt: read.finishedAt.toISOString(),
    head: read.head === undefined ? null : { number: read.head.number, sha256: read.head.sha256 },
    snapshots: last.snapshotCount,
    closedSnapshots: last.closedSnapshots,
    packs: last.packsRead + last.unindexedPacks,
    bytes: last.packBytesRead + last.unindexedBytesRead,
    unindexedPacks: last.unindexedPacks,
    storedPacks: last.packCount,
    storedBytes: last.packBytes,
    depth: depthOf(last),
    found: named(first.problems),
    foundCount: first.problemCount,
    repaired: mended.slice(0, MOST_NAMED),
    repairedCount: mended.length,
    foundWhole: foundWhole.slice(0, MOST_NAMED),
    foundWholeCount: foundWhole.length,
    left: named(last.problems),
    leftCount: last.problemCount,
  };
}

function depthOf({ contentChecked, closedSnapshots, snapshotCount }: VerifyReport): Depth {
  if (contentChecked) return 'content';
  return closedSnapshots === snapshotCount ? 'hashes' : 'partly';
}

function named(problems: readonly FoundDamage[]): FoundDamage[] {
  return problems
    .slice(0, MOST_NAMED)
    .map(({ object, message }) => ({ object, message: message.slice(0, MOST_CHARACTERS) }));
}

/** What is damaged is read again with each part: what the last one left is what is left. */
export function stateOf(readings: readonly Reading[]): VerificationState {
  const last = readings.at(-1);
  if (last === undefined || last.leftCount > 0) return 'damaged';
  return readings.some(({ foundCount }) => foundCount > 0) ? 'repaired' : 'whole';
}

export function summaryOf(readings: readonly Reading[], parts: number): VerificationSummary {
  const sum = (pick: (reading: Reading) => number) => readings.reduce((all, one) => all + pick(one), 0);
  // What is damaged is found again with each part.
  const objects = readings.flatMap(({ found }) => found.map(({ object }) => object));
  const depths = new Set(readings.map(({ depth }) => depth));
  const [only = 'hashes'] = depths;
  return {
    depth: depths.size === 1 ? only : 'partly',
    parts,
    snapshots: readings.at(-1)?.snapshots ?? 0,
    packs: sum(({ packs }) => packs),
    bytes: sum(({ bytes }) => bytes),
    found: new Set(objects).size + sum(({ foundCount, found }) => foundCount - found.length),
    repaired: sum(({ repairedCount }) => repairedCount),
    left: readings.at(-1)?.leftCount ?? 0,
  };
}

/** A report has a limit: of a cycle that found much, the last parts' objects are named first, and all are counted. */
export function nameFewer(readings: readonly Reading[]): Reading[] {
  let room = MOST_NAMED_IN_ALL;
  const cut = <T>(list: readonly T[]): T[] => {
    const kept = list.slice(0, room);
    room -= kept.length;
    return kept;
  };
  return readings
    .toReversed()
    .map((one) => ({
      ...one,
      left: cut(one.left),
      found: cut(one.found),
      repaired: cut(one.repaired),
      foundWhole: cut(one.foundWhole),
    }))
    .toReversed();
}
