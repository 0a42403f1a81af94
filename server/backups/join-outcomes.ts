/** One outcome of work that was done on several targets, one after the other. Pure. */
import type { RunOutcome } from '../lib/runs.ts';
import type { JsonObject } from '../lib/tables.ts';

export interface EndedOnTarget {
  target: { id: string; name: string };
  outcome: RunOutcome;
}

/** That of the only target is as it was. Of several, numbers are summed, and the first problem is told with the name of its target. */
export function joinOutcomes(ended: readonly EndedOnTarget[]): RunOutcome {
  const [only, second] = ended;
  if (only !== undefined && second === undefined) return only.outcome;
  const states = ended.map(({ outcome }) => outcome.state);
  const failed = ended.find(({ outcome }) => outcome.error !== undefined);
  const result = {
    ...sumUp(ended.map(({ outcome }) => outcome.result)),
    targets: ended.map(({ target, outcome }) => ({
      ...{ id: target.id, name: target.name, state: outcome.state },
      ...(outcome.error === undefined ? {} : { code: outcome.error.code, message: outcome.error.message }),
    })),
  };
  const error = failed?.outcome.error;
  const told =
    failed === undefined || error === undefined
      ? {}
      : { error: { ...error, message: `${failed.target.name}: ${error.message}` } };
  return { state: stateOf(states, ended), result, ...told };
}

function stateOf(
  states: readonly RunOutcome['state'][],
  ended: readonly EndedOnTarget[],
): RunOutcome['state'] {
  // Damage is never only part of the matter.
  if (ended.some(({ outcome }) => outcome.error?.code === 'integrity_failure')) return 'failed';
  if (states.every((state) => state === 'succeeded')) return 'succeeded';
  return states.every((state) => state === 'failed') ? 'failed' : 'partial';
}

function sumUp(results: readonly JsonObject[]): JsonObject {
  const sums: JsonObject = {};
  for (const [name, value] of results.flatMap((result) => Object.entries(result))) {
    const before = sums[name];
    if (typeof value === 'number') sums[name] = (typeof before === 'number' ? before : 0) + value;
    // Instants: the first that something is due.
    else if (name.endsWith('At') && typeof value === 'string')
      sums[name] = typeof before === 'string' && before < value ? before : value;
    else if (name === 'waits' && typeof value === 'string') sums[name] = value;
  }
  return sums;
}
