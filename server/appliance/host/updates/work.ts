/** What the verbs of updates share: the machine they act on, and how an update's next state is written down and told. */
import { randomUUID } from 'node:crypto';
import { crashPoint } from '../../../lib/crash-point.ts';
import { HoldfastError } from '../../../lib/errors.ts';
import type { HostDeps } from '../host-app.ts';
import { readImageFacts } from '../image-facts.ts';
import type { HostActor } from '../schema.ts';
import { follow } from './machine.ts';
import type { Rauc } from './rauc.ts';
import type { UpdateRecords } from './records.ts';
import type { RestartWhen, Update } from './schema.ts';
import type { BundleStore } from './store.ts';

export interface UpdateDeps extends HostDeps {
  rauc: Rauc;
  /** The kernel's id of this boot. */
  bootId: string;
  /** Restarts the machine; returns while it goes down. */
  reboot(): Promise<void>;
}

export interface Work {
  deps: UpdateDeps;
  records: UpdateRecords;
  store: BundleStore;
  installing: Promise<void>;
  timer: NodeJS.Timeout | undefined;
  closed: boolean;
}

export async function runningVersion(work: Work): Promise<string> {
  return (await readImageFacts(work.deps.places)).version;
}

export async function newUpdate(
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

/** @throws HoldfastError `wrong_state` when another act came first. */
export async function move(
  work: Work,
  id: string,
  to: Update['state'],
  change: Partial<Update> | ((stored: Update) => Promise<Partial<Update>>),
): Promise<Update> {
  const moved = await work.records.change(id, async (stored) => {
    const changes = typeof change === 'function' ? await change(stored) : change;
    return follow(stored, to, changes, work.deps.clock.now());
  });
  crashPoint(`update.state.${to}`);
  return moved;
}

export async function tell(work: Work, update: Update, verb: string, detail: object): Promise<void> {
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
