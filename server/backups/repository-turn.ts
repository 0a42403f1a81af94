/**
 * Snapshots, prunes and checks take turns. One that is asked for while another is under way waits for its turn, and fails only when that
 * does not come: most of them take seconds, and whoever asked should not have to ask again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { withAdvisoryLock } from '../lib/lock.ts';
import type { RunContext } from '../lib/runs.ts';
import { TargetBusy } from './target-repository.ts';

/** Shorter than the time after which a run without progress is told of. */
const TURN_MS = 10 * 60_000;
const ASK_AGAIN_MS = 500;

/** What was under way went on for too long. */
export class NoTurn extends HoldfastError {
  constructor() {
    super('locked', 'Other work on the repository is under way', {
      hint: 'Wait for it to end, then try again.',
    });
  }
}

/** @throws NoTurn when its turn did not come; the signal's reason when it is cancelled meanwhile */
export async function withRepositoryTurn<T>(
  db: Database,
  run: RunContext,
  act: () => Promise<T>,
): Promise<T> {
  const { signal } = run;
  const patience = { ms: TURN_MS, signal, onWait: () => tellWaiting(run) };
  const done = await withAdvisoryLock(db, 'repositoryWork', async () => ({ value: await act() }), {
    patience,
  });
  if (done !== undefined) return done.value;
  throw new NoTurn();
}

/** Does it again as long as it meets short work of others on a target: the keys or a checkpoint being brought there. */
export async function retryWhileBusy<T>(run: RunContext, act: () => Promise<T>): Promise<T> {
  let told = false;
  for (const until = performance.now() + TURN_MS; ;) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof TargetBusy) || performance.now() >= until) throw error;
      if (!told) await tellWaiting(run);
      told = true;
      await delay(ASK_AGAIN_MS);
      run.signal.throwIfAborted();
    }
  }
}

async function tellWaiting(run: RunContext): Promise<void> {
  await run.step('Waiting for other work on the repository to end');
  await run.log('info', 'Other work on the repository is under way; this begins when it has ended');
}
