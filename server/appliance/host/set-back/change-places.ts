/**
 * Data folders change places under the services, and are tried: what a set-back, its undoing and the return from either share.
 * Whatever becomes of it, everything is started again, with data that served before where the others do not.
 */
import { setBackFolders } from '../../../lib/data-folder.ts';
import { messageOf } from '../../../lib/errors.ts';
import type { RecoveryProblem } from '../recovery/schema.ts';
import { clearStage, leaveStage, showPage } from '../recovery/stage.ts';
import { noteStarted } from '../recovery/status.ts';
import { countBytes, sweepGone } from './folders.ts';
import { moveTo, readSetBack, writeSetBack } from './record.ts';
import type { SetBackRecord } from './schema.ts';
import { settleSetBack } from './settle.ts';
import { lastVerb, SYSTEM, tell } from './tell.ts';
import { goOn, type SetBackDeps, type Work } from './work.ts';

/** The data from before are kept that long. */
const KEPT_MS = 7 * 86_400_000;

/** Whatever becomes of the folders, everything is started: what is left to do with them, the start does. */
export async function end(work: Work, problem: RecoveryProblem | undefined): Promise<void> {
  const { deps } = work;
  let settled: SetBackRecord | undefined;
  try {
    settled = await settleSetBack(deps, problem);
    if (settled?.state === 'failed') settled = await tell(deps, settled, 'failed');
  } catch (error) {
    await leaveStage(deps, { message: messageOf(error), hint: null });
    throw error;
  }
  await leaveStage(deps, settled?.problem ?? undefined);
  if (settled !== undefined) watchStart(work, settled);
}

/** From live data that served to others, or back: the services end, the folders change places, the services start. */
export async function changePlaces(
  work: Work,
  record: SetBackRecord,
  state: 'moving-in' | 'moving-back',
  prepare: () => Promise<void> = async () => undefined,
): Promise<void> {
  const { deps } = work;
  try {
    await clearStage(deps);
    await showPage(deps);
    await prepare();
    // Only now: the database that steps aside would have taken this act with it.
    const told =
      record.problem === null ? await tell(deps, record, 'undo-begun', record.undo?.actor) : record;
    await moveTo(deps, told, state);
  } catch (error) {
    // The folders are where they were.
    await leaveStage(deps, { message: messageOf(error), hint: 'Nothing was changed. Try it again.' });
    throw error;
  }
  await end(work, undefined);
}

/** Waits for the services after the folders have changed places; data that do not serve go back by themselves. */
export function watchStart(work: Work, record: SetBackRecord): void {
  if (record.state !== 'starting' && record.state !== 'starting-back') return;
  goOn(work, 'The start after a set-back was not judged', async () => {
    const { deps } = work;
    const health = await deps.waitForHealth();
    const found = await readSetBack(deps.dataDir);
    if (found?.id !== record.id || found.state !== record.state) return;
    if (health.healthy) return keep(work, found);
    deps.log.error(
      { setBack: found.id, reason: health.reason },
      'The appliance did not start on its other data',
    );
    const back = found.state === 'starting';
    const message = `The appliance did not start on ${back ? 'the data of the snapshot' : 'the data from before'}: ${health.reason}`;
    const hint = back
      ? 'The data from before are in use again. Another snapshot, or another version, may do.'
      : 'The data of the snapshot are in use again, and those from before are still set aside.';
    await noteStarted(deps, { act: back ? 'set-back' : 'undo', step: 'Ending the services' });
    await changePlaces(work, { ...found, problem: { message, hint } }, back ? 'moving-back' : 'moving-in');
    await tellLast(work);
  });
}

/** They serve. */
async function keep(work: Work, record: SetBackRecord): Promise<void> {
  const { deps } = work;
  const keptUntil = new Date(deps.clock.now().getTime() + KEPT_MS).toISOString();
  if (record.state === 'starting') await moveTo(deps, record, 'kept', { keptUntil });
  else await moveTo(deps, record, 'undone', { keptUntil: null });
  await settleSetBack(deps);
  await tellLast(work);
  deps.log.info(
    { setBack: record.id, from: record.state },
    'The appliance serves after its data changed places',
  );
  await count(deps);
  await sweepGone(deps.dataDir);
}

export async function tellLast({ deps }: Work): Promise<void> {
  const record = await readSetBack(deps.dataDir);
  const verb = record === undefined ? undefined : lastVerb(record);
  if (record !== undefined && verb !== undefined)
    await tell(deps, record, verb, verb === 'discarded' ? (record.discardedBy ?? SYSTEM) : SYSTEM);
}

/** They do not change any more: once is enough. */
export async function count(deps: SetBackDeps): Promise<void> {
  const record = await readSetBack(deps.dataDir);
  if (record?.state !== 'kept' || record.beforeBytes !== null) return;
  const beforeBytes = await countBytes(setBackFolders(deps.dataDir).before);
  const now = await readSetBack(deps.dataDir);
  if (now?.state === 'kept' && now.id === record.id)
    await writeSetBack(deps.dataDir, { ...now, beforeBytes });
}
