/**
 * Other kits mean another keys object and another base of the keyring: they reach every target within a minute, not only with its next
 * snapshot. What a target was given last is in its row; one that is away is tried again, and the next snapshot brings it too.
 */
import type { KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { enqueueRun, findLastRun, findOpenRun, type RunContext, type RunOutcome } from '../lib/runs.ts';
import { problemOf } from './copy-problems.ts';
import { joinOutcomes, type EndedOnTarget } from './join-outcomes.ts';
import { publishKeyring } from './publish-keyring.ts';
import { readQuarantine } from './quarantine.ts';
import { listActiveTargets, type TargetRow } from './queries.ts';
import { namesOf, withTargetRepository, type RepositoryRunDeps } from './target-repository.ts';

/** Between two tries while a target is away. */
const RETRY_MS = 30 * 60_000;

/** The run of kind `publish-keys`. */
export async function runPublishKeys(deps: RepositoryRunDeps, run: RunContext): Promise<RunOutcome> {
  const lacking = await listLackingKeys(deps);
  const ended: EndedOnTarget[] = [];
  for (const [index, target] of lacking.entries()) {
    run.signal.throwIfAborted();
    run.report({ filesDone: index, filesTotal: lacking.length });
    await run.step(`Giving the keys to ${target.name}`);
    ended.push({ target, outcome: await publishTo(deps, run, target) });
  }
  if (ended.length === 0) return { state: 'succeeded', result: { given: 0 } };
  return joinOutcomes(ended);
}

async function publishTo(deps: RepositoryRunDeps, run: RunContext, target: TargetRow): Promise<RunOutcome> {
  try {
    await withTargetRepository(deps, target, run, async (open) => {
      await publishKeyring(deps, open);
      crashPoint('backups.keys.keyring-published');
      await open.writer.publishHead();
      crashPoint('backups.keys.head-published');
    });
    return { state: 'succeeded', result: { given: 1 } };
  } catch (error) {
    run.signal.throwIfAborted();
    const problem = problemOf(error, 'It failed inside the appliance');
    await run.log('error', `${target.name}: ${problem.message}`);
    return { state: 'failed', result: { given: 0 }, error: problem };
  }
}

interface KeysDeps {
  db: Database;
  clock: Clock;
  keys: Pick<KeyClient, 'keysObjects'>;
}

/** Targets in use that hold a repository and were not given the present keys object. */
export async function listLackingKeys(deps: Pick<KeysDeps, 'db' | 'keys'>): Promise<TargetRow[]> {
  const targets = (await listActiveTargets(deps.db)).filter((target) => target.last_ok_at !== null);
  if (targets.length === 0) return [];
  try {
    const present = namesOf(await deps.keys.keysObjects());
    return targets.filter((target) => target.keys_object !== present);
  } catch (error) {
    // Before the claim there are none.
    if (error instanceof HoldfastError && error.code === 'wrong_state') return [];
    throw error;
  }
}

/** Once a minute: queues the run when a target lacks the keys, beside nothing that writes there. */
export async function publishKeysWhenDue(deps: KeysDeps): Promise<void> {
  if ((await readQuarantine(deps.db)) !== undefined) return;
  if ((await listLackingKeys(deps)).length === 0) return;
  for (const kind of ['publish-keys', 'snapshot', 'copy', 'prune', 'verify'] as const)
    if ((await findOpenRun(deps.db, kind)) !== undefined) return;
  const keysObjects = namesOf(await deps.keys.keysObjects());
  const last = await findLastRun(deps.db, 'publish-keys');
  const sinceMs = last && Math.abs(deps.clock.now().getTime() - last.createdAt.getTime());
  // Other keys than those that could not be brought are brought at once.
  if (sinceMs !== undefined && sinceMs < RETRY_MS && last?.input.keysObjects === keysObjects) return;
  await writeTransaction(deps.db, async (tx) => {
    if ((await findOpenRun(tx, 'publish-keys')) !== undefined) return;
    await enqueueRun(tx, deps.clock, {
      kind: 'publish-keys',
      input: { keysObjects },
      cause: 'schedule',
    });
  });
}
