/**
 * The owner sets this appliance back to a snapshot, undoes that, or discards what was set aside. hostd does it; here is decided who
 * asked, whether somebody else has approved it (`permits.ts`), whether the kit is of this appliance, and whether anything stands in the way that hostd cannot know. The wish is in the
 * audit log of the data that step aside; what became of it, in the log of those that come into use.
 */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { findPoint, findRepository, rememberedHead } from '../../backups/index.ts';
import { type KeyClient, parseRecoveryKit, type RecoveryKit } from '../../keys/index.ts';
import type { Person } from '../../identity/index.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { listRuns } from '../../lib/runs.ts';
import type { AskedApproval } from '../../lib/shapes.ts';
import { connectHost, requireHost, type HostClient } from '../host/client.ts';
import type {
  CheckedSetBack,
  CheckSetBackRequest,
  SetBackView,
  StartSetBackRequest,
} from '../host/set-back/schema.ts';
import { enterHostActs } from '../host-acts.ts';
import { hostActor, type HostMachineDeps } from '../host-machine.ts';
import { getAppliance } from '../queries.ts';
import { countWrittenSince, findSnapshotPlace, type SnapshotPlace } from './queries.ts';
import { exactPoint, giveBackPermit, usePermit, type SetBackPoint, type UsedPermit } from './permits.ts';
import { askForDiscard, readRequest, type RequestDeps } from './requests.ts';
import type {
  DiscardSetBackBody,
  SetBackPlan,
  StartSetBackBody,
  UndoPlan,
  UndoSetBackBody,
} from './schema.ts';

export interface SetBackServiceDeps extends HostMachineDeps, Pick<RequestDeps, 'sealer'> {
  dataDir: string;
  keys: RequestDeps['keys'] & Pick<KeyClient, 'status' | 'renewAuditLog'>;
}

/** A repository with many snapshots on a slow share; mounting comes before. */
const LOOK_TIMEOUT_MS = 14 * 60_000;

export function readSetBack(deps: Pick<SetBackServiceDeps, 'config'>): Promise<SetBackView> {
  return hostOf(deps).get('/set-back');
}

/** What it means and what it takes, before a kit is asked for. @throws HoldfastError `not_found`, `unavailable` */
export async function planSetBack(
  deps: SetBackServiceDeps,
  asked: SetBackPoint,
  person: Person | undefined,
): Promise<SetBackPlan> {
  const point = exactPoint(asked);
  const { record } = await readSetBack(deps);
  const place = await requirePlace(deps, point);
  const { moment } = point;
  if (moment !== undefined) await requireMoment(deps, place, moment);
  const [{ name }, found, lost] = await Promise.all([
    getAppliance(deps.db),
    findRepository({ kind: 'directory', path: place.path }),
    countWrittenSince(deps.db, moment === undefined ? place.takenAt : new Date(moment)),
  ]);
  const { id, number, takenAt, sizeBytes, targetId, targetName } = place;
  return {
    applianceName: name ?? '',
    snapshot: { id, number, takenAt: takenAt.toISOString(), sizeBytes },
    moment: moment ?? null,
    target: { id: targetId, name: targetName },
    found,
    lost,
    needsApproval: person !== undefined,
    request: person === undefined ? null : await readRequest(deps, person, point, lost),
    barrier: await findBarrier(deps, record, 'set-back'),
  };
}

/** @throws HoldfastError `wrong_state` when nothing is set aside. */
export async function planUndo(deps: SetBackServiceDeps): Promise<UndoPlan> {
  const { record } = await readSetBack(deps);
  if (record?.state !== 'kept' || record.movedAt === null) throw nothingKept();
  const { name } = await getAppliance(deps.db);
  return {
    applianceName: name ?? '',
    lost: await countWrittenSince(deps.db, new Date(record.movedAt)),
    barrier: await findBarrier(deps, record, 'undo'),
  };
}

/** Changes nothing. @throws HoldfastError as hostd says, `wrong_key` for a kit of another appliance. */
export async function checkSetBack(
  deps: SetBackServiceDeps,
  actor: Actor,
  wanted: SetBackPoint & { kit: string },
): Promise<CheckedSetBack> {
  const request = await requestFor(deps, actor, wanted);
  return hostOf(deps).send('POST', '/set-back/check', request, LOOK_TIMEOUT_MS);
}

/**
 * Answers when it is about to begin: then this server stops. A person uses up the permit in the transaction that enters the wish; where
 * it is refused before it began, they have it again.
 *
 * @throws HoldfastError `wrong_state` for a person without a permit; as hostd says.
 */
export async function startSetBack(
  deps: SetBackServiceDeps,
  actor: Actor,
  { name, acceptWarnings, acceptMore, ...body }: StartSetBackBody,
): Promise<void> {
  const { kit } = body;
  const point = exactPoint(body);
  const wanted = { ...point, kit };
  const use = (tx: WriteTransaction) =>
    actor.id === undefined
      ? Promise.resolve(undefined)
      : usePermit(tx, deps, { ...point, acceptMore: acceptMore === true }, actor);
  const giveBack = async (tx: WriteTransaction, permit: UsedPermit | undefined) => {
    if (permit !== undefined) await giveBackPermit(tx, permit);
  };
  const tell = (permit: UsedPermit | undefined) => ({
    ...point,
    reason: permit?.reason ?? body.reason ?? '',
    ...(permit === undefined ? {} : { approval: permit.id }),
  });
  await audited(deps, actor, 'wanted', { use, giveBack, tell }, async (permit) => {
    const reason = permit?.reason ?? requireReason(body.reason);
    await requireName(deps, name);
    const { record } = await readSetBack(deps);
    refuse(await findBarrier(deps, record, 'set-back'));
    const request = await requestFor(deps, actor, wanted);
    // What the journal still has is of the data that step aside.
    await enterHostActs(deps);
    const start: StartSetBackRequest = {
      ...request,
      ...{ reason, applianceId: (await getAppliance(deps.db)).id },
      acceptWarnings: acceptWarnings === true,
      ...(permit === undefined
        ? {}
        : { approval: { id: permit.id, askedBy: permit.askedBy, approvedBy: permit.approvedBy } }),
    };
    await beginAnotherLog(deps);
    await hostOf(deps).send('POST', '/set-back/start', start, LOOK_TIMEOUT_MS);
  });
}

export async function undoSetBack(
  deps: SetBackServiceDeps,
  actor: Actor,
  { name, reason }: UndoSetBackBody,
): Promise<void> {
  await audited(deps, actor, 'undo-wanted', { ...NOTHING_USED, tell: () => ({ reason }) }, async () => {
    await requireName(deps, name);
    const { record } = await readSetBack(deps);
    refuse(await findBarrier(deps, record, 'undo'));
    await enterHostActs(deps);
    await beginAnotherLog(deps);
    await hostOf(deps).send('POST', '/set-back/undo', { actor: hostActor(actor), reason });
  });
}

/**
 * Takes the way back away, so people ask for it; the console does it at once.
 *
 * @returns undefined when it was done.
 */
export async function discardSetBack(
  deps: SetBackServiceDeps,
  actor: Actor,
  { name, reason }: DiscardSetBackBody,
): Promise<AskedApproval | undefined> {
  await requireName(deps, name);
  if (actor.id !== undefined) return askForDiscard(deps, actor, requireReason(reason));
  try {
    await hostOf(deps).send('POST', '/set-back/discard', { actor: hostActor(actor) });
  } finally {
    await enterHostActs(deps);
  }
  return undefined;
}

function requireReason(reason: string | undefined): string {
  if (reason !== undefined) return reason;
  throw new HoldfastError('invalid_input', 'A reason is needed, for the audit log', {
    hint: 'At least ten characters.',
  });
}

/**
 * The keyring goes along, and remembers heads of the audit log which that of the data to come does not reach: under the same id it
 * could never be signed again. Refused after this, the log of the live data goes on under another id, and says so.
 */
async function beginAnotherLog({ keys }: Pick<SetBackServiceDeps, 'keys'>): Promise<void> {
  await keys.renewAuditLog();
}

function hostOf(deps: Pick<SetBackServiceDeps, 'config'>): HostClient {
  return requireHost(connectHost(deps.config));
}

async function requirePlace(deps: SetBackServiceDeps, point: SetBackPoint): Promise<SnapshotPlace> {
  const place = await findSnapshotPlace(deps.db, point);
  if (place !== undefined && place.kind !== 'directory') {
    throw new HoldfastError('wrong_state', 'The appliance cannot be set back from a server', {
      hint: 'Copy the repository to a disk or share and recover from there. Files come back with `holdfast restore`.',
    });
  }
  if (place !== undefined) return place;
  throw new HoldfastError('not_found', 'This snapshot is on no target any more', {
    hint: 'Choose another one: its list says where each lies.',
  });
}

/**
 * Before anything stops for it.
 *
 * @returns at most the bytes that are gone on by from the snapshot: of the log, and of files stored since.
 * @throws HoldfastError `not_found` when the log there does not reach it
 */
async function requireMoment(
  deps: SetBackServiceDeps,
  place: SnapshotPlace,
  moment: string,
): Promise<{ laterBytes: number }> {
  const chosen = { kind: 'time' as const, at: new Date(moment) };
  const { base, pieces, clockWentBack } = await findPoint(deps, place.targetId, chosen);
  if (clockWentBack)
    throw new HoldfastError(
      'wrong_state',
      'The clock of the database went back before this moment: it may have come twice',
      {
        hint: 'Choose a moment before that, or a snapshot; `holdfast recover --to-lsn` takes a position of the log on another machine.',
      },
    );
  if (base.id === place.id) {
    const { bytes } = await countWrittenSince(deps.db, place.takenAt);
    return { laterBytes: pieces.reduce((sum, { from, to }) => sum + Number(to - from), bytes) };
  }
  throw new HoldfastError('conflict', `This moment is gone on to from snapshot ${String(base.number)}`, {
    hint: 'Choose the moment again.',
  });
}

async function requestFor(
  deps: SetBackServiceDeps,
  actor: Actor,
  { kit, ...asked }: SetBackPoint & { kit: string },
): Promise<CheckSetBackRequest> {
  const point = exactPoint(asked);
  const { snapshot, moment } = point;
  const place = await requirePlace(deps, point);
  const later = moment === undefined ? {} : { moment, ...(await requireMoment(deps, place, moment)) };
  const { repositoryId } = await requireOwnKit(deps, kit);
  const knownHead = rememberedHead(deps.dataDir, repositoryId, place);
  return {
    ...{ actor: hostActor(actor), place: place.path, kit, snapshot },
    ...later,
    ...(knownHead === undefined ? {} : { knownHead }),
  };
}

/** @throws HoldfastError that never holds what was given: `invalid_input`, `wrong_key`. */
async function requireOwnKit(deps: SetBackServiceDeps, text: string): Promise<RecoveryKit> {
  const { kit } = parseRecoveryKit(text);
  if (kit === undefined) {
    throw new HoldfastError('invalid_input', 'This is only the secret key of a recovery kit', {
      hint: 'Give the whole kit: it also says which repository to trust.',
    });
  }
  const { repository } = await deps.keys.status();
  if (kit.repositoryId === repository.repositoryId && kit.trustRoot === repository.trustRoot) return kit;
  throw new HoldfastError('wrong_key', 'This recovery kit is of another appliance', {
    hint: 'Take the newest kit of this one. An appliance that was lost comes back on a machine without an owner.',
  });
}

async function requireName(deps: SetBackServiceDeps, name: string): Promise<void> {
  const appliance = await getAppliance(deps.db);
  if (name.trim() === (appliance.name ?? '').trim()) return;
  throw new HoldfastError('invalid_input', 'This is not the name of this appliance', {
    hint: 'Type it as it stands at the top of each page.',
  });
}

type Barrier = SetBackPlan['barrier'];

/** What hostd cannot know, and what it would say too: told before a kit is asked for. */
async function findBarrier(
  deps: SetBackServiceDeps,
  record: SetBackView['record'],
  act: 'set-back' | 'undo',
): Promise<Barrier> {
  if (act === 'set-back' && record?.state === 'kept') {
    return {
      message: 'The data from before the last set-back are still set aside',
      hint: 'Undo that one first, then choose another snapshot: nothing is lost that way. Or discard them.',
    };
  }
  const [run] = await listRuns(deps.db, { open: true, limit: 1 });
  if (run === undefined) return null;
  return {
    message: `A run of kind ${run.kind} is ${run.state === 'queued' ? 'queued' : 'under way'}`,
    hint: 'Wait for its end, or cancel it.',
  };
}

function refuse(barrier: Barrier): void {
  if (barrier === null) return;
  const { message, hint } = barrier;
  throw new HoldfastError('wrong_state', message, hint === undefined ? {} : { hint });
}

function nothingKept(): HoldfastError {
  return new HoldfastError('wrong_state', 'No data from before a set-back are kept on this machine');
}

/** What an act uses up in the transaction that enters the wish for it, and gives back with the entry that it was refused. */
interface Uses<T> {
  use: (tx: WriteTransaction) => Promise<T | undefined>;
  giveBack: (tx: WriteTransaction, used: T | undefined) => Promise<void>;
  tell: (used: T | undefined) => Record<string, unknown>;
}

const NOTHING_USED = {
  use: () => Promise.resolve(undefined),
  giveBack: () => Promise.resolve(),
};

/** Enters the wish first, then what refused it. */
async function audited<T>(
  deps: SetBackServiceDeps,
  actor: Actor,
  verb: string,
  { use, giveBack, tell }: Uses<T>,
  perform: (used: T | undefined) => Promise<void>,
): Promise<void> {
  hostOf(deps);
  const enter = (tx: WriteTransaction, result: 'done' | 'refused', detail: Record<string, unknown>) =>
    recordAudit(tx, deps.clock, actor, {
      action: `appliance.set-back.${verb}`,
      objectType: 'set-back',
      objectId: null,
      ...{ result, detail },
    });
  let used: T | undefined;
  try {
    used = await writeTransaction(deps.db, async (tx) => {
      const taken = await use(tx);
      await enter(tx, 'done', tell(taken));
      return taken;
    });
    crashPoint('appliance.set-back.wanted');
    await perform(used);
  } catch (error) {
    await writeTransaction(deps.db, async (tx) => {
      await giveBack(tx, used);
      const code = error instanceof HoldfastError ? error.code : 'internal';
      await enter(tx, 'refused', { ...tell(used), code });
    });
    throw error;
  }
}
