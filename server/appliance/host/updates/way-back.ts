/** Back into the other slot, where the version before this one still lies. */
import { crashPoint } from '../../../lib/crash-point.ts';
import { HoldfastError } from '../../../lib/errors.ts';
import type { HostActor } from '../schema.ts';
import { refuseWhileBusy } from './records.ts';
import { restartTime, scheduleRestart } from './restart.ts';
import type { RestartWhen, Slot, SlotName, Update } from './schema.ts';
import { newUpdate, type Work } from './work.ts';

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

export async function requestWayBack(
  work: Work,
  request: { restart: RestartWhen; actor: HostActor },
): Promise<Update> {
  const [slots, updates] = [await work.deps.rauc.slots(), await work.records.updates()];
  refuseWhileBusy(updates);
  const back = findWayBack(slots, updates);
  if (back === undefined) {
    throw new HoldfastError('wrong_state', 'There is no version to go back to', {
      hint: 'The other slot holds a version only after an update that came through. Setting the appliance back to a snapshot is another way.',
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
  await work.records.add(update);
  crashPoint('update.way-back.requested');
  await work.deps.rauc.mark('active', 'other');
  crashPoint('update.way-back.marked');
  scheduleRestart(work, update);
  return update;
}
