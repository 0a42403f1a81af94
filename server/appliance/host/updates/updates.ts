/**
 * The verbs of updates, and the one update that is under way. Each step is written down before it is taken, so that whatever
 * is killed, the next start goes on from there: an install that was cut off is done again (the slot that runs is never
 * written), a restart that was due is made.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { HostActor } from '../schema.ts';
import { advanceUpdate, requestInstall, startInstall } from './install.ts';
import { checkBundle, readUpdateOverview } from './overview.ts';
import { openUpdateRecords, refuseWhileBusy, type UpdateRecords } from './records.ts';
import { cancelUpdate, scheduleRestart, setRestart } from './restart.ts';
import type {
  AdvanceRequest,
  Bundle,
  CheckedBundle,
  InstallRequest,
  RestartWhen,
  Update,
  UpdateOverview,
} from './schema.ts';
import { openBundleStore, type BundleStore } from './store.ts';
import { openBundleUploads, type BundleUploads } from './uploads.ts';
import { requestWayBack } from './way-back.ts';
import { move, runningVersion, tell, type UpdateDeps, type Work } from './work.ts';

/** An install that fails this often is given up. */
const MOST_ATTEMPTS = 3;

export interface Updates {
  store: BundleStore;
  uploads: BundleUploads;
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
    uploads: openBundleUploads({ store, clock: deps.clock }),
    records,
    overview: () => readUpdateOverview(work),
    check: (bundle) => checkBundle(work, bundle),
    install: (request) => requestInstall(work, request),
    advance: (id, request) => advanceUpdate(work, id, request),
    setRestart: (id, restart) => setRestart(work, id, restart),
    cancel: (id, actor) => cancelUpdate(work, id, actor),
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

async function runningBundle(work: Work): Promise<string | undefined> {
  const version = await runningVersion(work);
  const bundle = (await work.store.list()).findLast((one) => one.version === version);
  return bundle === undefined ? undefined : work.store.path(bundle.sha256);
}

async function removeBundle(work: Work, sha256: string): Promise<void> {
  const current = await work.records.current();
  if (current?.bundle?.sha256 === sha256) refuseWhileBusy([current]);
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
      await move(work, current.id, 'failed', { message });
      await tell(work, current, 'failed', { reason: message });
    } else startInstall(work, current);
  } else if (current.state === 'ready') {
    if (current.kind === 'way-back') await work.deps.rauc.mark('active', 'other');
    scheduleRestart(work, current);
  } else if (current.state === 'rebooting' && current.rebootedFrom === work.deps.bootId) {
    // Killed between the note and the act: the machine is still up.
    await work.deps.reboot();
  }
}
