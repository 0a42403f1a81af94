/**
 * "Are we safe?", decided from facts. Pure. The rules, in order; the first that holds is the verdict:
 * 1. no target has a complete snapshot: unprotected;
 * 2. the newest restore test or verification found something wrong: damaged;
 * 3. every complete snapshot lies on the disk that it protects against: local-only, whatever else is well;
 * 4. this appliance is in quarantine, the last due snapshot or restore test did not happen, the last work on every target failed, or the
 *    newest snapshot is on fewer targets than it has to be: overdue;
 * 5. a restore test passed on a copy that is elsewhere: proven;
 * 6. else: stored.
 */
import type { Overview } from './schema.ts';

export interface ProtectionFacts {
  targets: readonly {
    name: string;
    /** On the disk of the data itself. */
    sameDisk: boolean;
    /** Complete snapshots on it. */
    snapshotCount: number;
    /** What the last work on it ran into; null when it went well. */
    lastProblem: string | null;
  }[];
  lastSnapshot: { takenAt: string; state: string } | null;
  lastProven: {
    at: string;
    grade: string;
    targetName: string;
    sameDisk: boolean;
    snapshotTakenAt: string;
  } | null;
  /** In quarantine: nothing new is backed up. */
  held: boolean;
  snapshotOverdue: boolean;
  restoreTestOverdue: boolean;
  /** It keeps no key to what is written now. */
  writeOnly: boolean;
  /** On how many targets the newest snapshot is, on how many of them not beside the data, and has to be; null before the first. */
  copies: { have: number; elsewhere: number; needed: number; total: number } | null;
  /** What the newest restore test and the newest verification found wrong, a sentence each. */
  damage: readonly string[];
}

export interface Verdict {
  verdict: Overview['verdict'];
  /** What it means and what to do, most important first. */
  sentences: string[];
}

export function decideVerdict(facts: ProtectionFacts): Verdict {
  const holding = facts.targets.filter((target) => target.snapshotCount > 0);
  if (holding.length === 0) return { verdict: 'unprotected', sentences: [explainUnprotected(facts)] };
  const overdue = [
    ...explainHeld(facts),
    ...explainFailing(facts),
    ...explainOverdue(facts),
    ...explainShort(facts),
  ];
  if (facts.damage.length > 0)
    return { verdict: 'damaged', sentences: [...facts.damage, ...overdue, ...writeOnlyNote(facts)] };
  if (holding.every((target) => target.sameDisk)) {
    return { verdict: 'local-only', sentences: [explainLocal(holding), ...overdue, ...writeOnlyNote(facts)] };
  }
  if (overdue.length > 0) return { verdict: 'overdue', sentences: [...overdue, ...writeOnlyNote(facts)] };
  const { lastProven } = facts;
  if (lastProven !== null && !lastProven.sameDisk) {
    const by = lastProven.grade === 'kit-proven' ? 'with the recovery kit' : 'with the test identity';
    return {
      verdict: 'proven',
      sentences: [
        `The copy on ${lastProven.targetName} was restored and checked ${by}.`,
        ...partialNote(facts),
        ...writeOnlyNote(facts),
      ],
    };
  }
  const why =
    lastProven === null
      ? 'No copy has been restored yet. Run a restore test to know that it works.'
      : 'Only a local copy has been restored so far. Run a restore test on a target elsewhere.';
  return { verdict: 'stored', sentences: [why, ...partialNote(facts), ...writeOnlyNote(facts)] };
}

function explainUnprotected(facts: ProtectionFacts): string {
  if (facts.targets.length === 0) return 'There is no target yet. Add one, then take the first snapshot.';
  if (facts.lastSnapshot === null) return 'There is no snapshot yet. Take the first one.';
  return 'No target holds a complete snapshot. Look at the last run, then take another snapshot.';
}

function explainLocal(holding: ProtectionFacts['targets']): string {
  const names = holding.map((target) => target.name);
  const list = [names.slice(0, -1).join(', '), ...names.slice(-1)].filter(Boolean).join(' and ');
  const what =
    names.length === 1
      ? `The only copy, on ${list}, lies on the disk that it should protect against`
      : `${names.length === 2 ? 'Both' : `All ${String(names.length)}`} copies, on ${list}, lie on the disk that they should protect against`;
  return `${what}. Add a target elsewhere.`;
}

/** Whatever was proven before: what is written now is lost with this machine. */
function explainHeld({ held }: ProtectionFacts): string[] {
  return held
    ? ['This appliance waits in quarantine, and nothing is backed up until an owner lets it go on.']
    : [];
}

/** Copies that nobody can reach are no protection: said before anything good. */
function explainFailing(facts: ProtectionFacts): string[] {
  if (!facts.targets.every((target) => target.lastProblem !== null)) return [];
  return facts.targets.map(
    (target) => `The last snapshot could not be stored on ${target.name}: ${target.lastProblem ?? ''}.`,
  );
}

function explainOverdue(facts: ProtectionFacts): string[] {
  const sentences: string[] = [];
  if (facts.snapshotOverdue) sentences.push('The last due snapshot was not taken. Look at the last run.');
  if (facts.restoreTestOverdue)
    sentences.push('The last due restore test did not happen. Start one, or see why it failed.');
  return sentences;
}

function explainShort({ copies, targets }: ProtectionFacts): string[] {
  if (copies === null) return [];
  if (copies.have >= copies.needed) {
    return copies.elsewhere > 0
      ? []
      : ['The newest snapshot is only on a local copy, and on no target elsewhere yet.'];
  }
  const failing = targets.filter((target) => target.lastProblem !== null);
  // Where none can be reached, that is said already.
  if (failing.length === targets.length) return [];
  const why = failing.map((target) => ` ${target.name}: ${target.lastProblem ?? ''}.`).join('');
  return [
    `The newest snapshot is on ${String(copies.have)} of ${String(copies.total)} targets, and has to be on ${String(copies.needed)}.${why}`,
  ];
}

/** Nothing here proves a backup by itself. */
function writeOnlyNote({ writeOnly }: ProtectionFacts): string[] {
  return writeOnly ? ['This appliance is write-only: restore tests need the recovery kit.'] : [];
}

function partialNote(facts: ProtectionFacts): string[] {
  if (facts.lastSnapshot?.state !== 'partial') return [];
  return ['The newest snapshot is partial: it lacks what is listed on its page.'];
}
