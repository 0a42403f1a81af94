/**
 * The verbs of updates, and the one update that is under way. Each step is written down before it is taken, so that whatever
 * is killed, the next start goes on from there: an install that was cut off is done again (the slot that runs is never
 * written), a restart that was due is made.
 */
import { randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { join } from 'node:path';
import { crashPoint } from '../../../lib/crash-point.ts';
import { HoldfastError, messageOf } from '../../../lib/errors.ts';
import type { HostDeps } from '../host-app.ts';
import { readImageFacts } from '../image-facts.ts';
import type { Rauc } from './rauc.ts';
import type { HostActor } from '../schema.ts';
import { inspectBundle, refuseVersion } from './bundle.ts';
import { follow } from './machine.ts';
import { openUpdateRecords, type UpdateRecords } from './records.ts';
import type {
  AdvanceRequest,
  Bundle,
  CheckedBundle,
  InstallRequest,
  RestartWhen,
  Slot,
  SlotName,
  Update,
  UpdateOverview,
} from './schema.ts';
import { openBundleStore, type BundleStore } from './store.ts';
import { nextRestart, NOTICE_MS } from './window.ts';

export interface UpdateDeps extends HostDeps {
  rauc: Rauc;
  /** The kernel's id of this boot. */
  bootId: string;
  /** Restarts the machine; returns while it goes down. */
  reboot(): Promise<void>;
}

/** An install that fails this often is given up. */
const MOST_ATTEMPTS = 3;
const HISTORY_SHOWN = 50;

export interface Updates {
  store: BundleStore;
  records: UpdateRecords;
  overview(): Promise<UpdateOverview>;
  check(bundle: Bundle): Promise<CheckedBundle>;
  install(request: InstallRequest): Promise<Update>;
  /** What the server found out or did; the next part begins. */
  advance(id: string, request: AdvanceRequest): Promise<Update>;
  setRestart(id: string, restart: RestartWhen): Promise<Update>;
  cancel(id: string, actor: HostActor): Promise<Update>;
  wayBack(request: { restart: RestartWhen; actor: HostActor }): Promise<Update>;
  /** File of the bundle that brought the version that runs; undefined where the first image did, or it was removed. */
  runningBundle(): Promise<string | undefined>;
  /** @throws HoldfastError `wrong_state` for the one that is being installed. */
  removeBundle(sha256: string): Promise<void>;
  /** Goes on with what a stop cut off. Call once at start. */
  resume(): Promise<void>;
  /** As `resume`, when the volume with the bundles is there: it may wait for a person to unlock it. */
  resumeWhenUnlocked(): Promise<void>;
  /** Resolves when nothing is being installed. */
  idle(): Promise<void>;
  close(): void;
}

export function openUpdates(deps: UpdateDeps): Updates {
  const records = openUpdateRecords(deps.places.state);
  const store = openBundleStore({
    systemDir: join(deps.places.data, 'system'),
    reader: deps.rauc,
    clock: deps.clock,
  });
  const work: Work = { deps, records, store, installing: Promise.resolve(), timer: undefined, closed: false };
  return {
    store,
    records,
    overview: () => overview(work),
    check: (bundle) => check(work, bundle),
    install: (request) => requestInstall(work, request),
    advance: (id, request) => advance(work, id, request),
    setRestart: (id, restart) => setRestart(work, id, restart),
    cancel: (id, actor) => cancel(work, id, actor),
    wayBack: (request) => requestWayBack(work, request),
    runningBundle: () => runningBundle(work),
    removeBundle: (sha256) => removeBundle(work, sha256),
    resume: () => resume(work),
    resumeWhenUnlocked: () => resumeWhenUnlocked(work),
    idle: () => work.installing,
    close: () => {
      work.closed = true;
      clearTimeout(work.timer);
    },
  };
}

interface Work {
  deps: UpdateDeps;
  records: UpdateRecords;
  store: BundleStore;
  installing: Promise<void>;
  timer: NodeJS.Timeout | undefined;
  closed: boolean;
}

async function runningVersion(work: Work): Promise<string> {
  return (await readImageFacts(work.deps.places)).version;
}

async function overview(work: Work): Promise<UpdateOverview> {
  const [version, slots, updates, window, boots] = await Promise.all([
    runningVersion(work),
    work.deps.rauc.slots(),
    work.records.updates(),
    work.records.window(),
    work.records.boots(),
  ]);
  const bundles: CheckedBundle[] = [];
  for (const bundle of await work.store.list()) bundles.push(await check(work, bundle));
  return {
    version,
    slots,
    window: window ?? null,
    bundles,
    current: (await work.records.current()) ?? null,
    wayBack: findWayBack(slots, updates) ?? null,
    history: updates.toReversed().slice(0, HISTORY_SHOWN),
    lastBoot: boots.at(-1) ?? null,
  };
}

async function check(work: Work, bundle: Bundle): Promise<CheckedBundle> {
  const running = await runningVersion(work);
  const reason = refuseVersion(bundle, { running }) ?? null;
  return { ...bundle, installable: reason === null, reason };
}

/** The other slot counts while the last thing that came through was a change from it, and the boot loader would take it. */
export function findWayBack(
  slots: readonly Slot[],
  updates: readonly Update[],
): { version: string; slot: SlotName } | undefined {
  const booted = slots.find((slot) => slot.booted);
  const other = slots.find((slot) => !slot.booted);
  const last = updates.findLast((update) => update.installAttempts > 0 || update.state === 'confirmed');
  if (booted === undefined || other?.good !== true || last?.state !== 'confirmed') return undefined;
  if (last.toSlot !== booted.name || last.fromSlot !== other.name) return undefined;
  return { version: last.fromVersion, slot: other.name };
}

async function requestInstall(work: Work, request: InstallRequest): Promise<Update> {
  await refuseWhileBusy(work);
  const bundle = await work.store.get(request.sha256);
  // What lies on the disk is looked at again: it was checked some time ago, with the clock and the keys of then.
  await inspectBundle(work.deps.rauc, work.store.path(bundle.sha256));
  const { installable, reason } = await check(work, bundle);
  if (!installable) throw new HoldfastError('wrong_state', reason ?? '', { hint: 'Nothing was changed.' });
  const skipped = request.skipReason !== undefined;
  const update: Update = {
    ...(await newUpdate(work, request)),
    kind: 'update',
    state: skipped ? 'installing' : 'rehearsing',
    bundle,
    version: bundle.version,
    skipReason: request.skipReason ?? null,
    message: null,
  };
  await work.records.save(update);
  crashPoint('update.requested');
  if (skipped) startInstall(work, update);
  return update;
}

async function newUpdate(
  work: Work,
  request: { restart: RestartWhen; actor: HostActor },
): Promise<Omit<Update, 'kind' | 'state' | 'bundle' | 'version' | 'message'>> {
  const slots = await work.deps.rauc.slots();
  const booted = slots.find((slot) => slot.booted);
  if (booted === undefined || slots.length < 2) {
    throw new HoldfastError('wrong_state', 'This machine did not start from one of its two slots', {
      hint: 'Was it started from another disk or a rescue system? `rauc status` at the console says more.',
    });
  }
  return {
    id: randomUUID(),
    fromVersion: await runningVersion(work),
    fromSlot: booted.name,
    toSlot: booted.name === 'A' ? 'B' : 'A',
    restart: request.restart,
    requestedAt: work.deps.clock.now().toISOString(),
    requestedBy: request.actor,
    skipReason: null,
    rehearsal: null,
    safetySnapshotId: null,
    installAttempts: 0,
    progress: 0,
    rebootAt: null,
    rebootedFrom: null,
    endedAt: null,
  };
}

async function refuseWhileBusy(work: Work): Promise<void> {
  const current = await work.records.current();
  if (current === undefined) return;
  throw new HoldfastError('wrong_state', `An update to ${current.version} is under way`, {
    hint: 'Wait for it, or cancel it first.',
  });
}

async function getCurrent(work: Work, id: string): Promise<Update> {
  const update = (await work.records.updates()).find((one) => one.id === id);
  if (update === undefined) throw new HoldfastError('not_found', 'There is no such update');
  return update;
}

async function move(
  work: Work,
  update: Update,
  to: Update['state'],
  change: Partial<Update>,
): Promise<Update> {
  const moved = follow(update, to, change, work.deps.clock.now());
  await work.records.save(moved);
  crashPoint(`update.state.${to}`);
  return moved;
}

async function advance(work: Work, id: string, request: AdvanceRequest): Promise<Update> {
  const update = await getCurrent(work, id);
  switch (request.step) {
    case 'rehearsed':
      return move(work, update, 'snapshot', { rehearsal: request.report });
    case 'saved': {
      const installing = await move(work, update, 'installing', { safetySnapshotId: request.snapshotId });
      startInstall(work, installing);
      return installing;
    }
    case 'refused':
      return move(work, update, 'refused', { message: request.message });
  }
}

function startInstall(work: Work, update: Update): void {
  work.installing = work.installing
    .then(() => performInstall(work, update))
    .catch((error: unknown) => {
      work.deps.log.error({ err: error, update: update.id }, 'An update could not be installed');
    });
}

async function performInstall(work: Work, requested: Update): Promise<void> {
  const { deps, records, store } = work;
  if (requested.bundle === null) return;
  let update: Update = { ...requested, installAttempts: requested.installAttempts + 1, progress: 0 };
  await records.save(update);
  crashPoint('update.install.begun');
  try {
    const path = store.path(requested.bundle.sha256);
    await inspectBundle(deps.rauc, path);
    await deps.rauc.install(path, (progress) => {
      // For people only: what is lost by a crash is asked again.
      if (progress - update.progress >= 5) {
        update = { ...update, progress };
        void records.save(update).catch(() => undefined);
      }
    });
  } catch (error) {
    await move(work, update, 'failed', { message: messageOf(error) });
    await tell(work, update, 'failed', { reason: messageOf(error) });
    return;
  }
  crashPoint('update.install.written');
  const rebootAt = await restartTime(work, update.restart);
  const ready = await move(work, update, 'ready', { progress: 100, rebootAt });
  await tell(work, ready, 'installed', {});
  scheduleReboot(work, ready);
}

async function tell(work: Work, update: Update, verb: string, detail: object): Promise<void> {
  await work.deps.journal.append(
    { kind: 'system', label: 'update' },
    {
      action: `host.update.${verb}`,
      objectType: 'update',
      objectId: update.id,
      result: verb === 'failed' ? 'failed' : 'done',
      detail: { version: update.version, fromVersion: update.fromVersion, slot: update.toSlot, ...detail },
    },
  );
}

async function restartTime(work: Work, restart: RestartWhen): Promise<string | null> {
  if (restart === 'manual') return null;
  const now = work.deps.clock.now();
  if (restart === 'now') return now.toISOString();
  const window = await work.records.window();
  return (
    window === undefined ? new Date(now.getTime() + NOTICE_MS) : nextRestart(window, now)
  ).toISOString();
}

/** Timers are short, so that a clock that is set does not move a restart by days. */
const LONGEST_WAIT_MS = 60_000;

function scheduleReboot(work: Work, update: Update): void {
  clearTimeout(work.timer);
  if (update.rebootAt === null || work.closed) return;
  const wait = Date.parse(update.rebootAt) - work.deps.clock.now().getTime();
  const look = async () => {
    const current = await work.records.current();
    if (current?.id !== update.id || current.state !== 'ready' || current.rebootAt === null) return;
    if (Date.parse(current.rebootAt) > work.deps.clock.now().getTime()) scheduleReboot(work, current);
    else await rebootInto(work, current);
  };
  work.timer = setTimeout(
    () => {
      void look().catch((error: unknown) =>
        work.deps.log.error({ err: error }, 'The restart for an update could not be made'),
      );
    },
    Math.max(0, Math.min(wait, LONGEST_WAIT_MS)),
  );
}

async function rebootInto(work: Work, update: Update): Promise<void> {
  await tell(work, update, 'restarted', {});
  const message = `The machine restarts into slot ${update.toSlot}.`;
  await move(work, update, 'rebooting', { message, rebootedFrom: work.deps.bootId });
  await work.deps.reboot();
}

async function setRestart(work: Work, id: string, restart: RestartWhen): Promise<Update> {
  const update = await getCurrent(work, id);
  if (update.endedAt !== null || update.state === 'rebooting') {
    throw new HoldfastError('wrong_state', 'This update does not wait for a restart');
  }
  const rebootAt = update.state === 'ready' ? await restartTime(work, restart) : null;
  const changed: Update = { ...update, restart, rebootAt };
  await work.records.save(changed);
  if (changed.state === 'ready') scheduleReboot(work, changed);
  return changed;
}

async function cancel(work: Work, id: string, actor: HostActor): Promise<Update> {
  const update = await getCurrent(work, id);
  const message = `Cancelled by ${actor.kind === 'user' ? 'an administrator' : (actor.label ?? actor.kind)}.`;
  if (update.state === 'ready') {
    clearTimeout(work.timer);
    // The boot loader would take the other slot at the next start, whatever our notes say.
    await work.deps.rauc.mark('active', 'booted');
    crashPoint('update.cancel.marked');
  }
  return move(work, update, 'cancelled', { message, rebootAt: null });
}

async function requestWayBack(
  work: Work,
  request: { restart: RestartWhen; actor: HostActor },
): Promise<Update> {
  await refuseWhileBusy(work);
  const [slots, updates] = [await work.deps.rauc.slots(), await work.records.updates()];
  const back = findWayBack(slots, updates);
  if (back === undefined) {
    throw new HoldfastError('wrong_state', 'There is no version to go back to', {
      hint: 'The other slot holds a version only after an update that came through. Recovery from a snapshot is another way.',
    });
  }
  const update: Update = {
    ...(await newUpdate(work, request)),
    kind: 'way-back',
    state: 'ready',
    bundle: null,
    version: back.version,
    rebootAt: await restartTime(work, request.restart),
    message: `Goes back to ${back.version}. What was written since stays.`,
  };
  await work.records.save(update);
  crashPoint('update.way-back.requested');
  await work.deps.rauc.mark('active', 'other');
  crashPoint('update.way-back.marked');
  scheduleReboot(work, update);
  return update;
}

async function runningBundle(work: Work): Promise<string | undefined> {
  const version = await runningVersion(work);
  const bundle = (await work.store.list()).findLast((one) => one.version === version);
  return bundle === undefined ? undefined : work.store.path(bundle.sha256);
}

async function removeBundle(work: Work, sha256: string): Promise<void> {
  const current = await work.records.current();
  if (current?.bundle?.sha256 === sha256) await refuseWhileBusy(work);
  await work.store.get(sha256);
  await work.store.remove(sha256);
}

const UNLOCK_LOOK_MS = 5_000;

async function resumeWhenUnlocked(work: Work): Promise<void> {
  const current = await work.records.current();
  if (current === undefined) return;
  const there = await stat(work.store.folder).catch(() => undefined);
  if (there !== undefined || current.bundle === null) return resume(work);
  await delay(UNLOCK_LOOK_MS, undefined, { ref: false });
  if (!work.closed) await resumeWhenUnlocked(work);
}

async function resume(work: Work): Promise<void> {
  const current = await work.records.current();
  if (current === undefined) return;
  const slots = await work.deps.rauc.slots();
  const booted = slots.find((slot) => slot.booted)?.name;
  // In the new slot already: boot-good says what comes of it.
  if (booted !== current.fromSlot) return;
  if (current.state === 'installing') {
    if (current.installAttempts >= MOST_ATTEMPTS) {
      const message = `The installation was cut off ${String(current.installAttempts)} times.`;
      await move(work, current, 'failed', { message });
      await tell(work, current, 'failed', { reason: message });
    } else startInstall(work, current);
  } else if (current.state === 'ready') {
    if (current.kind === 'way-back') await work.deps.rauc.mark('active', 'other');
    scheduleReboot(work, current);
  } else if (current.state === 'rebooting' && current.rebootedFrom === work.deps.bootId) {
    // Killed between the note and the act: the machine is still up.
    await work.deps.reboot();
  }
}
