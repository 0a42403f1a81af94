/** What would be lost if this machine were gone now, by what its targets can restore. */
import type { MeasuredLoss, PointInTimeStatus, TargetShipping } from './schema.ts';
import { readShipState, type TimeOff } from './ship-state.ts';
import { showPointInTime, type PointInTimeDeps } from './show-point-in-time.ts';
import { onTimeMs } from './time-off.ts';

export async function measureLoss(deps: PointInTimeDeps): Promise<MeasuredLoss> {
  const offs = readShipState(deps.dataDir, (view) => view.offs());
  return lossOf(await showPointInTime(deps), deps.clock.now(), offs);
}

/** The best of the targets counts, one that is lost with this machine's disk only where there is no other. Pure. */
export function lossOf(status: PointInTimeStatus, now: Date, offs: readonly TimeOff[] = []): MeasuredLoss {
  const { objectiveSeconds } = status;
  const nothing = { seconds: null, targetName: null, sameDisk: false, objectiveSeconds };
  if (!status.enabled) return { state: 'off', ...nothing };
  const able = status.targets
    .map((target) => ({ target, newestMs: newestMoment(target) }))
    .filter(({ newestMs }) => newestMs > 0)
    .sort((a, b) => Number(a.target.sameDisk) - Number(b.target.sameDisk) || b.newestMs - a.newestMs);
  const [best] = able;
  if (best === undefined) return { state: 'nothing-yet', ...nothing };
  const { name: targetName, sameDisk } = best.target;
  const seconds = Math.round(onTimeMs(offs, new Date(best.newestMs), now) / 1000);
  return { state: 'measured', seconds, targetName, sameDisk, objectiveSeconds };
}

function newestMoment({ coveredUntil }: TargetShipping): number {
  return coveredUntil === null ? 0 : Date.parse(coveredUntil);
}
