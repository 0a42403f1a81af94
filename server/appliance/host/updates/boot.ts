/**
 * What becomes of the slot that was started: it is marked good when the appliance is well, or the machine goes back to the
 * other one. Runs once in every boot, before and while the volume is unlocked.
 *
 * Guarantees: a slot that is on trial stays only after the appliance was well in it; one that has been good before is not
 * given up because nobody unlocked it, or because the data have a fault that no other version would mend.
 */
import type { Clock } from '../../../lib/clock.ts';
import { crashPoint } from '../../../lib/crash-point.ts';
import type { ActJournal } from '../journal.ts';
import type { Rauc } from './rauc.ts';
import { follow } from './machine.ts';
import type { UpdateRecords } from './records.ts';
import type { BootRecord, SlotName, Update } from './schema.ts';

export interface BootDeps {
  rauc: Pick<Rauc, 'slots' | 'mark'>;
  records: UpdateRecords;
  journal: Pick<ActJournal, 'append'>;
  clock: Clock;
  bootId: string;
  version: string;
  /**
   * Resolves when the appliance is well, or with the reason why it is not within the time it is given. On trial a service that
   * keeps ending is reason enough: the version before it waits.
   */
  waitForHealth(on: { trial: boolean }): Promise<{ healthy: true } | { healthy: false; reason: string }>;
  reboot(): Promise<void>;
}

/** @returns what it came to; after `unhealthy` on trial the machine goes down. */
export async function settleBoot(deps: BootDeps): Promise<BootRecord> {
  const slots = await deps.rauc.slots();
  const booted = slots.find((slot) => slot.booted)?.name ?? 'A';
  let boot: BootRecord = {
    slot: booted,
    version: deps.version,
    bootId: deps.bootId,
    startedAt: deps.clock.now().toISOString(),
    outcome: 'waiting',
    message: null,
  };
  await deps.records.saveBoot(boot);
  crashPoint('boot.noted');
  const current = await deps.records.current();
  const trial = current !== undefined && isOnTrial(current, booted) ? current : undefined;
  if (trial === undefined) await keepSlot(deps, booted, current);
  const health = await deps.waitForHealth({ trial: trial !== undefined });
  if (health.healthy) {
    boot = { ...boot, outcome: 'good' };
    if (trial !== undefined) await confirm(deps, trial);
    await deps.records.saveBoot(boot);
    return boot;
  }
  boot = { ...boot, outcome: 'unhealthy', message: health.reason };
  await deps.records.saveBoot(boot);
  await tell(deps, 'host.boot.failed', booted, { reason: health.reason, trial: trial !== undefined });
  if (trial !== undefined) {
    await deps.rauc.mark('bad', 'booted');
    crashPoint('boot.marked-bad');
    await deps.reboot();
  }
  return boot;
}

/** Also a power cut between the engine's last write and our note of it leads here. */
function isOnTrial(update: Update, booted: SlotName): boolean {
  return update.toSlot === booted && ['installing', 'ready', 'rebooting'].includes(update.state);
}

async function keepSlot(deps: BootDeps, booted: SlotName, current: Update | undefined): Promise<void> {
  await deps.rauc.mark('good', 'booted');
  crashPoint('boot.kept');
  const left = current?.state === 'rebooting' && current.rebootedFrom !== deps.bootId;
  if (!left || current.fromSlot !== booted) return;
  await deps.rauc.mark('active', 'booted');
  const reason = await whyGivenUp(deps, current);
  await deps.records.change(current.id, (stored) =>
    follow(stored, 'fell-back', { message: reason }, deps.clock.now()),
  );
  crashPoint('boot.fell-back');
  await tell(deps, 'host.update.undone', current.id, {
    version: current.version,
    slot: booted,
    reason,
  });
}

async function whyGivenUp(deps: BootDeps, update: Update): Promise<string> {
  const tried = (await deps.records.boots()).findLast(
    (boot) => boot.slot === update.toSlot && boot.startedAt >= update.requestedAt,
  );
  const back = `${update.fromVersion} runs again, with all data as they are.`;
  if (tried === undefined) return `${update.version} did not start. ${back}`;
  const why = tried.message ?? 'it was switched off or stopped before it was found well';
  return `${update.version} started, but ${why}. ${back}`;
}

async function confirm(deps: BootDeps, update: Update): Promise<void> {
  await deps.rauc.mark('good', 'booted');
  crashPoint('boot.marked-good');
  const message =
    update.kind === 'way-back'
      ? `Back at ${update.version}. What was written since is still there.`
      : `${update.version} runs.`;
  await deps.records.change(update.id, (stored) =>
    follow(stored, 'confirmed', { message, progress: 100, rebootAt: null }, deps.clock.now()),
  );
  crashPoint('boot.confirmed');
  await tell(deps, 'host.update.confirmed', update.id, { version: update.version, slot: update.toSlot });
}

async function tell(deps: BootDeps, action: string, objectId: string, detail: object): Promise<void> {
  await deps.journal.append(
    { kind: 'system', label: 'boot' },
    {
      action,
      objectType: action.startsWith('host.boot') ? 'slot' : 'update',
      objectId,
      result: action === 'host.update.confirmed' ? 'done' : 'failed',
      detail: { ...detail },
    },
  );
}
