/** From the request to a written slot: what the server found out is taken in between (`advanceUpdate`). */
import { crashPoint } from '../../../lib/crash-point.ts';
import { HoldfastError, messageOf } from '../../../lib/errors.ts';
import { inspectBundle } from './bundle.ts';
import { checkBundle } from './overview.ts';
import { refuseWhileBusy } from './records.ts';
import { restartTime, scheduleRestart } from './restart.ts';
import type { AdvanceRequest, InstallRequest, Update } from './schema.ts';
import { move, newUpdate, tell, type Work } from './work.ts';

export async function requestInstall(work: Work, request: InstallRequest): Promise<Update> {
  refuseWhileBusy(await work.records.updates());
  const bundle = await work.store.get(request.sha256);
  // What lies on the disk is looked at again: it was checked some time ago, with the clock and the keys of then.
  await inspectBundle(work.deps.rauc, work.store.path(bundle.sha256));
  const { installable, reason } = await checkBundle(work, bundle);
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
  await work.records.add(update);
  crashPoint('update.requested');
  if (skipped) startInstall(work, update);
  return update;
}

export async function advanceUpdate(work: Work, id: string, request: AdvanceRequest): Promise<Update> {
  switch (request.step) {
    case 'rehearsed':
      return move(work, id, 'snapshot', { rehearsal: request.report });
    case 'saved': {
      const installing = await move(work, id, 'installing', { safetySnapshotId: request.snapshotId });
      startInstall(work, installing);
      return installing;
    }
    case 'refused':
      return move(work, id, 'refused', { message: request.message });
  }
}

export function startInstall(work: Work, update: Update): void {
  work.installing = work.installing
    .then(() => performInstall(work, update))
    .catch((error: unknown) => {
      work.deps.log.error({ err: error, update: update.id }, 'An update could not be installed');
    });
}

async function performInstall(work: Work, { id, bundle }: Update): Promise<void> {
  const { deps, records, store } = work;
  if (bundle === null) return;
  const update = await records.change(id, (stored) => ({
    ...stored,
    installAttempts: stored.installAttempts + 1,
    progress: 0,
  }));
  crashPoint('update.install.begun');
  try {
    const path = store.path(bundle.sha256);
    await inspectBundle(deps.rauc, path);
    await deps.rauc.install(path, showProgress(work, id));
  } catch (error) {
    await move(work, id, 'failed', { message: messageOf(error) });
    await tell(work, update, 'failed', { reason: messageOf(error) });
    return;
  }
  crashPoint('update.install.written');
  const ready = await move(work, id, 'ready', async ({ restart }) => ({
    progress: 100,
    rebootAt: await restartTime(work, restart),
  }));
  await tell(work, ready, 'installed', {});
  scheduleRestart(work, ready);
}

const PROGRESS_STEP = 5;

/** For people only: what is lost by a crash is asked again. */
function showProgress(work: Work, id: string): (progress: number) => void {
  let shown = 0;
  return (progress) => {
    if (progress - shown < PROGRESS_STEP) return;
    shown = progress;
    work.records
      .change(id, (stored) =>
        stored.state === 'installing' && stored.progress < progress ? { ...stored, progress } : stored,
      )
      .catch((error: unknown) => work.deps.log.warn({ err: error }, 'Progress could not be noted'));
  };
}
