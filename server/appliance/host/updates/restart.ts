/** When the machine restarts into the other slot, who may move that, and who may call it off. */
import { crashPoint } from '../../../lib/crash-point.ts';
import { HoldfastError } from '../../../lib/errors.ts';
import type { HostActor } from '../schema.ts';
import type { RestartWhen, Update } from './schema.ts';
import { nextRestart, NOTICE_MS } from './window.ts';
import { move, tell, type Work } from './work.ts';

export async function restartTime(work: Work, restart: RestartWhen): Promise<string | null> {
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

export function scheduleRestart(work: Work, update: Update): void {
  clearTimeout(work.timer);
  if (update.rebootAt === null || work.closed) return;
  const wait = Date.parse(update.rebootAt) - work.deps.clock.now().getTime();
  const look = async () => {
    const current = await work.records.current();
    if (current?.id !== update.id || current.state !== 'ready' || current.rebootAt === null) return;
    if (Date.parse(current.rebootAt) > work.deps.clock.now().getTime()) scheduleRestart(work, current);
    else await restartInto(work, current);
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

async function restartInto(work: Work, update: Update): Promise<void> {
  const message = `The machine restarts into slot ${update.toSlot}.`;
  await move(work, update.id, 'rebooting', { message, rebootedFrom: work.deps.bootId });
  await tell(work, update, 'restarted', {});
  await work.deps.reboot();
}

export async function setRestart(work: Work, id: string, restart: RestartWhen): Promise<Update> {
  const changed = await work.records.change(id, async (stored) => {
    if (stored.endedAt !== null || stored.state === 'rebooting') {
      throw new HoldfastError('wrong_state', 'This update does not wait for a restart');
    }
    const rebootAt = stored.state === 'ready' ? await restartTime(work, restart) : null;
    return { ...stored, restart, rebootAt };
  });
  if (changed.state === 'ready') scheduleRestart(work, changed);
  return changed;
}

export async function cancelUpdate(work: Work, id: string, actor: HostActor): Promise<Update> {
  const message = `Cancelled by ${actor.kind === 'user' ? 'an administrator' : (actor.label ?? actor.kind)}.`;
  const cancelled = await move(work, id, 'cancelled', async (stored) => {
    if (stored.state === 'ready') {
      // The boot loader would take the other slot at the next start, whatever our notes say.
      await work.deps.rauc.mark('active', 'booted');
      crashPoint('update.cancel.marked');
    }
    return { message, rebootAt: null };
  });
  clearTimeout(work.timer);
  return cancelled;
}
