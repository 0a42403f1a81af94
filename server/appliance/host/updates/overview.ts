/** What the page of updates shows. */
import { refuseVersion } from './bundle.ts';
import type { Bundle, CheckedBundle, UpdateOverview } from './schema.ts';
import { findWayBack } from './way-back.ts';
import { runningVersion, type Work } from './work.ts';

const HISTORY_SHOWN = 50;

export async function readUpdateOverview(work: Work): Promise<UpdateOverview> {
  const [version, slots, updates, window, boots] = await Promise.all([
    runningVersion(work),
    work.deps.rauc.slots(),
    work.records.updates(),
    work.records.window(),
    work.records.boots(),
  ]);
  const bundles: CheckedBundle[] = [];
  for (const bundle of await work.store.list()) bundles.push(await checkBundle(work, bundle));
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

export async function checkBundle(work: Work, bundle: Bundle): Promise<CheckedBundle> {
  const running = await runningVersion(work);
  const reason = refuseVersion(bundle, { running }) ?? null;
  return { ...bundle, installable: reason === null, reason };
}
