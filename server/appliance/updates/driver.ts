/**
 * Leads an update from part to part: rehearsal, safety snapshot, installation. What state it is in, hostd remembers; what came
 * of a run, its row says. So every look does only what is next, and a look too many does nothing: whatever was stopped in
 * between goes on by itself.
 */
import { recordAudit, systemActor } from '../../audit/index.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Config } from '../../lib/config.ts';
import { writeTransaction, type Database } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import type { Run } from '../../lib/run-schema.ts';
import { enqueueRun } from '../../lib/runs.ts';
import { connectHost, type HostClient } from '../host/client.ts';
import type { AdvanceRequest, Update, CurrentUpdate } from '../host/updates/schema.ts';
import { findUpdateRun } from './queries.ts';

export interface UpdateDriverDeps {
  config: Pick<Config, 'hostSocket'>;
  db: Database;
  clock: Clock;
  log: Logger;
}

/** The last look at each database: looks follow each other, so that no part is started or finished twice. */
const looks = new WeakMap<Database, Promise<void>>();

/** Does what is next for the update under way, if there is one. Safe to call at any time, by one process. */
export function advanceUpdate(deps: UpdateDriverDeps): Promise<void> {
  const look = (looks.get(deps.db) ?? Promise.resolve()).catch(() => undefined).then(() => advance(deps));
  looks.set(deps.db, look);
  return look;
}

async function advance(deps: UpdateDriverDeps): Promise<void> {
  const host = connectHost(deps.config);
  if (host === undefined) return;
  const { current } = await host.get<CurrentUpdate>('/updates/current');
  if (current?.state !== 'rehearsing' && current?.state !== 'snapshot') return;
  const kind = current.state === 'rehearsing' ? 'update-rehearsal' : 'snapshot';
  const run = await findUpdateRun(deps.db, kind, current.id);
  if (run === undefined) await startPart(deps, current, kind);
  else if (run.finishedAt !== null) {
    await finishPart(deps, host, current, run);
    // The next part follows at once; nothing else would say that it is due.
    await advance(deps);
  }
}

async function startPart(
  deps: UpdateDriverDeps,
  update: Update,
  kind: 'update-rehearsal' | 'snapshot',
): Promise<void> {
  try {
    const runId = await writeTransaction(deps.db, (tx) =>
      enqueueRun(tx, deps.clock, {
        kind,
        input: { updateId: update.id },
        cause: update.requestedBy.kind === 'user' ? 'person' : 'console',
        requestedBy: update.requestedBy.id,
      }),
    );
    deps.log.info({ update: update.id, run: runId, kind }, 'A part of an update was queued');
  } catch (error) {
    // One of that kind is under way; ours comes after it.
    if (!(error instanceof HoldfastError) || error.code !== 'wrong_state') throw error;
  }
}

async function finishPart(deps: UpdateDriverDeps, host: HostClient, update: Update, run: Run): Promise<void> {
  const request = whatCameOf(run);
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, systemActor('update'), {
      action: request.step === 'refused' ? 'appliance.update.refused' : 'appliance.update.advanced',
      objectType: 'update',
      objectId: update.id,
      result: request.step === 'refused' ? 'refused' : 'done',
      detail: { version: update.version, run: run.id, step: request.step },
    }),
  );
  await host.send('POST', `/updates/${update.id}/advance`, request);
}

function whatCameOf(run: Run): AdvanceRequest {
  const { result } = run;
  if (run.state === 'succeeded' && run.kind === 'update-rehearsal' && result?.report !== undefined) {
    return {
      step: 'rehearsed',
      report: result.report as Extract<AdvanceRequest, { step: 'rehearsed' }>['report'],
    };
  }
  // The way back needs a whole snapshot on a target; that another one is away is told elsewhere, and holds no update up.
  const whole = run.state === 'succeeded' || (run.state === 'partial' && result?.problems === 0);
  if (whole && typeof result?.snapshotId === 'string')
    return { step: 'saved', snapshotId: result.snapshotId };
  return { step: 'refused', message: whyNot(run).slice(0, 1_000) };
}

function whyNot(run: Run): string {
  const part = run.kind === 'snapshot' ? 'The safety snapshot' : 'The rehearsal';
  if (run.state === 'partial') {
    return `${part} could not read everything. Look at its problems, then install the update again.`;
  }
  const words = [run.error?.message, run.error?.hint].filter((text) => text !== undefined).join('. ');
  return `${part} ${run.state === 'cancelled' ? 'was cancelled' : 'failed'}${words === '' ? '.' : `: ${words}`}`;
}
