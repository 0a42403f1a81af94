/** Secrets that the server hands to one run: in memory, taken once, gone after a while. */
import type { Clock } from '../../lib/clock.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { KeydRole } from '../key-client.ts';
import { generationsOf } from '../keyring/model.ts';
import { needsKit } from '../needs-kit.ts';
import type { KeyringStore } from './store.ts';
import { type Arguments, flagArgument, textArgument, uuidArgument } from './arguments.ts';

/** A run may wait behind a long one. */
const LIFE_MS = 2 * 3_600_000;
const MAX_LENT = 256;
const MAX_SECRET_CHARACTERS = 512 * 1024;

interface Lent {
  /** JSON; null when there are none, or they were taken. */
  secrets: string | null;
  testIdentity: boolean;
  liveKeys: boolean;
  untilMs: number;
}

/** What a connection may do beyond its role. */
export interface Grants {
  /** Role run may derive keys: it came for what was lent with `liveKeys`. */
  liveKeys: boolean;
  /** Called when the connection ends. */
  onEnd?: () => void;
}

interface LendContext {
  store: KeyringStore;
  clock: Clock;
  holders: Set<Grants>;
}

/**
 * The operations, by name.
 *
 * @param holders connections that were given test identities, as long as they last: whoever has them in memory.
 */
export function lendOperations({ store, clock, holders }: LendContext) {
  const lent = new Map<string, Lent>();

  function sweep(): void {
    const nowMs = clock.monotonicMs();
    for (const [runId, entry] of lent) if (entry.untilMs < nowMs) lent.delete(runId);
  }

  return {
    /** Adds to what the run has: the server lends secrets when it queues a run, the worker rights when it starts it. */
    async lend(args: Arguments, role: KeydRole) {
      sweep();
      const runId = uuidArgument(args, 'runId');
      const given = args.secrets === null ? null : textArgument(args, 'secrets', MAX_SECRET_CHARACTERS);
      const before = lent.get(runId);
      if (given !== null && role !== 'server') {
        throw new HoldfastError('forbidden', 'Only the server lends secrets to a run');
      }
      if (given !== null && before?.secrets != null) {
        throw new HoldfastError('conflict', 'This run was lent its secrets already');
      }
      if (!before && lent.size >= MAX_LENT) {
        throw new HoldfastError('too_many_requests', 'Too many runs wait for their secrets');
      }
      lent.set(runId, {
        secrets: given ?? before?.secrets ?? null,
        testIdentity: flagArgument(args, 'testIdentity') || before?.testIdentity === true,
        liveKeys: flagArgument(args, 'liveKeys') || before?.liveKeys === true,
        untilMs: clock.monotonicMs() + LIFE_MS,
      });
      return null;
    },

    async take(args: Arguments, grants: Grants) {
      sweep();
      const entry = lent.get(uuidArgument(args, 'runId'));
      if (entry?.secrets == null) {
        throw new HoldfastError('not_found', 'Nothing is lent to this run, or it was taken already', {
          hint: 'Start the run again.',
        });
      }
      const { secrets } = entry;
      entry.secrets = null;
      if (entry.liveKeys) grants.liveKeys = true;
      return secrets;
    },

    /** Only the right, for a run that opens no backup: one that must sign in to a target. May be asked for again. */
    async takeLiveKeys(args: Arguments, grants: Grants) {
      sweep();
      const entry = lent.get(uuidArgument(args, 'runId'));
      if (entry?.liveKeys !== true) {
        throw new HoldfastError('forbidden', 'This run was not given the right to use keys');
      }
      grants.liveKeys = true;
      return null;
    },

    /** Newest generation first. */
    async testIdentities(args: Arguments, grants: Grants) {
      sweep();
      const entry = lent.get(uuidArgument(args, 'runId'));
      if (entry?.testIdentity !== true) {
        throw new HoldfastError('forbidden', 'This run was not given the test identity');
      }
      const claim = store.keyring().repository?.claim;
      const identities = claim ? generationsOf(claim).flatMap((one) => one.testIdentity ?? []) : [];
      if (identities.length === 0) throw needsKit();
      entry.testIdentity = false;
      holders.add(grants);
      grants.onEnd = () => holders.delete(grants);
      if (entry.liveKeys) grants.liveKeys = true;
      return identities.reverse();
    },
  };
}
