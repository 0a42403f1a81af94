/** What the acts of a set-back share: the machine that they act on, and one thing at a time. */
import { HoldfastError, messageOf } from '../../../lib/errors.ts';
import type { Health } from '../health.ts';
import type { LookLaunch } from '../recovery/look-launch.ts';
import type { StageDeps } from '../recovery/stage.ts';
import type { Shares } from '../shares/shares.ts';

export interface SetBackDeps extends StageDeps {
  shares: Pick<Shares, 'mountAll'>;
  launch: LookLaunch;
  /** Folders below which backups may lie. */
  directories: readonly string[];
  /** Version of the update that is under way. */
  updateUnderWay(): Promise<string | undefined>;
  /** After the services were started: resolves when the appliance is well, or with the reason why it is not. */
  waitForHealth(): Promise<Health>;
}

export interface Work {
  deps: SetBackDeps;
  /** Somebody's request is looked at. */
  busy: boolean;
  /** What this process is at; undefined when it is at nothing. */
  running: Promise<void> | undefined;
}

export async function alone<T>(work: Work, act: () => Promise<T>): Promise<T> {
  if (work.busy) {
    throw new HoldfastError('locked', 'Somebody else is at this at this moment', {
      hint: 'Wait until that has ended, a few minutes at most.',
    });
  }
  work.busy = true;
  try {
    return await act();
  } finally {
    work.busy = false;
  }
}

/** Goes on with it after the answer; one thing at a time. */
export function goOn(work: Work, what: string, act: () => Promise<void>): void {
  const before = work.running ?? Promise.resolve();
  const running = before
    .then(act)
    .catch((error: unknown) => work.deps.log.error({ err: error }, `${what}: ${messageOf(error)}`))
    .finally(() => {
      if (work.running === running) work.running = undefined;
    });
  work.running = running;
}
