/**
 * Sets this appliance back to one of its snapshots, undoes that, and discards what was set aside for it.
 *
 * Guarantees: nothing is stopped before the kit has opened the repository, the snapshot was seen in it and there is room for both
 * states; the data from before are set aside by a rename, never removed; whatever fails, and a power cut at any step, leaves the
 * machine running by itself with the data from before, or with those of the snapshot once these are whole and were seen to serve.
 */
import { randomUUID } from 'node:crypto';
import { setBackFolders } from '../../../lib/data-folder.ts';
import { HoldfastError, messageOf } from '../../../lib/errors.ts';
import { readFileIfPresent } from '../../../lib/files.ts';
import type { RecoveryProblem } from '../recovery/schema.ts';
import { clearStage, showPage } from '../recovery/stage.ts';
import { noteEnded, noteStarted, readRecoveryStatus } from '../recovery/status.ts';
import { superviseRecovery } from '../recovery/supervise.ts';
import type { HostActor } from '../schema.ts';
import { eraseSetupFile, recoveryFilePath, writeRecoveryFile } from '../setup-from-cloud.ts';
import { changePlaces, count, end, tellLast, watchStart } from './change-places.ts';
import { checkSetBack, refuseNow } from './check.ts';
import { carryAlong, letGo, sweepGone } from './folders.ts';
import { isUnderWay, moveTo, readSetBack, writeSetBack } from './record.ts';
import type {
  CheckedSetBack,
  CheckSetBackRequest,
  SetBackRecord,
  SetBackView,
  StartSetBackRequest,
  UndoSetBackRequest,
} from './schema.ts';
import { settleSetBack } from './settle.ts';
import { SYSTEM, tell } from './tell.ts';
import { alone, goOn, type SetBackDeps, type Work } from './work.ts';

export interface SetBack {
  view(): Promise<SetBackView>;
  /** Changes nothing. @throws HoldfastError as `start`, but for room and warnings, which it tells. */
  check(request: CheckSetBackRequest): Promise<CheckedSetBack>;
  /**
   * Answers when it is about to begin.
   *
   * @throws HoldfastError `wrong_state`, `wrong_key`, `no_repository`, `not_found`, `no_space`, `unavailable`; `locked` while
   *   another request is looked at. Nothing was changed then.
   */
  start(request: StartSetBackRequest): Promise<void>;
  /** For the program that recovers: the services end. */
  begin(): Promise<void>;
  /** For the program that recovers: the folders change places, or nothing did; the services start. */
  end(problem?: RecoveryProblem): Promise<void>;
  /** Answers when it is about to begin. @throws HoldfastError `wrong_state` when nothing is set aside. */
  undo(request: UndoSetBackRequest): Promise<void>;
  /** @throws HoldfastError `wrong_state` when nothing is set aside. */
  discard(actor: HostActor): Promise<void>;
  /** Takes up what was under way when hostd ended. */
  resume(): Promise<void>;
  /** What is due: waiting for the services after a start, telling, freeing space, the end of what is kept. */
  keepHouse(): Promise<void>;
  /** Resolves when nothing is under way in this process. */
  idle(): Promise<void>;
}

const CUT_OFF: RecoveryProblem = {
  message: 'The service of the machine that leads a set-back was cut off',
  hint: 'Nothing is lost: the data from before are the ones in use. Start it again.',
};

export function openSetBack(deps: SetBackDeps): SetBack {
  const work: Work = { deps, busy: false, running: undefined };
  return {
    view: () => readView(deps),
    check: (request) => alone(work, () => checkSetBack(deps, request)),
    start: (request) => alone(work, () => start(work, request)),
    begin: () => begin(deps),
    end: async (problem) => {
      await requireRunning(deps);
      await end(work, problem);
    },
    undo: (request) => alone(work, () => undo(work, request)),
    discard: (actor) => alone(work, () => discard(work, actor)),
    resume: () => resume(work),
    keepHouse: () => keepHouse(work),
    idle: async () => {
      while (work.running !== undefined) await work.running;
    },
  };
}

async function readView({ dataDir, places }: SetBackDeps): Promise<SetBackView> {
  const [record, status] = await Promise.all([readSetBack(dataDir), readRecoveryStatus(places)]);
  if (record === undefined) return { record: null, status };
  const { id, state, snapshot, moment, wanted, undo, discardedBy, problem } = record;
  const { movedAt, at, keptUntil, beforeBytes } = record;
  const shown = {
    id,
    state,
    snapshot,
    ...(moment === undefined ? {} : { moment }),
    wanted,
    undo,
    discardedBy,
    problem,
    movedAt,
    at,
    keptUntil,
    beforeBytes,
  };
  return { record: shown, status };
}

async function start(work: Work, request: StartSetBackRequest): Promise<void> {
  const { deps } = work;
  const { actor, place, kit, reason, applianceId, knownHead, approval, moment } = request;
  const { snapshot } = await checkSetBack(deps, request, { acceptWarnings: request.acceptWarnings === true });
  const now = deps.clock.now().toISOString();
  try {
    // First: whoever finds it under way after a kill erases the kit.
    await noteStarted(deps, {
      act: 'set-back',
      dataFrom: moment ?? snapshot.takenAt,
      step: 'Ending the services',
    });
    await writeRecoveryFile(deps, {
      ...{ from: place, kit, oldMachineIsOff: true },
      // From which snapshot a moment is gone on to is found by the recovery itself.
      ...(moment === undefined ? { snapshot: snapshot.id } : { toTime: moment }),
      acceptWarnings: request.acceptWarnings === true,
      setBack: { applianceId, ...(knownHead === undefined ? {} : { knownHead }) },
    });
    await writeSetBack(deps.dataDir, {
      format: 1,
      id: randomUUID(),
      state: 'recovering',
      snapshot,
      ...(moment === undefined ? {} : { moment }),
      place,
      wanted: { actor, reason, at: now, ...(approval === undefined ? {} : { approval }) },
      at: now,
      told: [],
      ...{ undo: null, discardedBy: null, movedAt: null, keptUntil: null, beforeBytes: null, problem: null },
    });
  } catch (error) {
    await noteEnded(deps, { message: messageOf(error), hint: null });
    await eraseSetupFile(deps.places);
    throw error;
  }
  deps.log.warn(
    { snapshot: snapshot.number, takenAt: snapshot.takenAt, moment },
    'This appliance is set back',
  );
  supervise(work);
}

function supervise(work: Work): void {
  goOn(work, 'A set-back was not settled', () =>
    superviseRecovery(work.deps, ({ message }) =>
      end(work, { message, hint: 'The log says more, on the console. Nothing is lost: start it again.' }),
    ),
  );
}

async function begin(deps: SetBackDeps): Promise<void> {
  await requireRunning(deps);
  const record = await readSetBack(deps.dataDir);
  if (record?.state !== 'recovering') throw nobodyAsked();
  await clearStage(deps);
  // Only now: the live database, which steps aside, would have taken this act with it.
  await tell(deps, record, 'begun', record.wanted.actor);
  await letGo(deps.dataDir, setBackFolders(deps.dataDir).fresh);
  await showPage(deps);
}

/** The two verbs of the program are for nobody else. */
async function requireRunning({ places }: SetBackDeps): Promise<void> {
  const { state, act } = await readRecoveryStatus(places);
  if (state !== 'running' || act !== 'set-back') throw nobodyAsked();
}

function nobodyAsked(): HoldfastError {
  return new HoldfastError('wrong_state', 'Nobody has asked to set this appliance back');
}

async function undo(work: Work, { actor, reason }: UndoSetBackRequest): Promise<void> {
  const { deps } = work;
  const record = await requireKept(deps);
  await refuseNow(deps);
  const at = deps.clock.now().toISOString();
  await noteStarted(deps, { act: 'undo', step: 'Ending the services' });
  deps.log.warn({ setBack: record.id }, 'A set-back is undone');
  goOn(work, 'A set-back could not be undone', async () => {
    const wanted = { ...record, undo: { actor, reason, at }, problem: null };
    const told = record.told.filter((verb) => !verb.startsWith('undo'));
    await changePlaces(work, { ...wanted, told }, 'moving-back', async () => {
      await carryAlong(deps.dataDir, setBackFolders(deps.dataDir).before);
    });
  });
}

async function discard(work: Work, actor: HostActor): Promise<void> {
  const { deps } = work;
  const record = await requireKept(deps);
  // An undoing may be about to bring them back.
  await refuseNow(deps);
  const discarded = await moveTo(deps, record, 'discarded', { discardedBy: actor, keptUntil: null });
  await settleSetBack(deps);
  await tell(deps, discarded, 'discarded', actor);
  deps.log.info({ setBack: record.id }, 'The data from before a set-back are discarded');
  goOn(work, 'Discarded data still take their space', async () => {
    await sweepGone(deps.dataDir);
  });
}

async function requireKept({ dataDir }: SetBackDeps): Promise<SetBackRecord> {
  const record = await readSetBack(dataDir);
  if (record?.state === 'kept') return record;
  throw new HoldfastError('wrong_state', 'No data from before a set-back are kept on this machine');
}

async function resume(work: Work): Promise<void> {
  const { deps } = work;
  const { state, act } = await readRecoveryStatus(deps.places);
  if (state !== 'running' || act === 'recovery') return;
  const record = await readSetBack(deps.dataDir);
  const file = await readFileIfPresent(recoveryFilePath(deps.places));
  if (record?.state === 'recovering' && file !== undefined) supervise(work);
  else
    goOn(work, 'A set-back could not be gone on with', async () => {
      await end(work, record === undefined || record.state === 'recovering' ? CUT_OFF : undefined);
      await eraseSetupFile(deps.places);
    });
}

async function keepHouse(work: Work): Promise<void> {
  const { deps } = work;
  if (work.running !== undefined || work.busy) return;
  const record = await readSetBack(deps.dataDir);
  if (record === undefined || isUnderWay(record.state)) return;
  if ((await readRecoveryStatus(deps.places)).state === 'running') return;
  if (record.state === 'starting' || record.state === 'starting-back') return watchStart(work, record);
  await tellLast(work);
  const over = record.state === 'kept' && deps.clock.now().getTime() >= Date.parse(record.keptUntil ?? '');
  if (over) await alone(work, () => discard(work, SYSTEM));
  await count(deps);
  await settleSetBack(deps);
  await sweepGone(deps.dataDir);
}
