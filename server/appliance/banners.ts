/** What every signed-in person sees at the top until it is no longer so. */
import type { KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import { readQuarantine } from '../backups/index.ts';
import type { Session } from '../identity/index.ts';
import type { Config } from '../lib/config.ts';
import { readExpiry } from './certificate/expiry.ts';
import { connectHost } from './host/client.ts';
import type { SetBackView } from './host/set-back/schema.ts';
import type { CurrentUpdate } from './host/updates/schema.ts';
import type { SshState } from './host/ssh/schema.ts';
import { getAppliance } from './queries.ts';

export interface BannerDeps {
  db: Database;
  clock: Clock;
  keys: Pick<KeyClient, 'status'>;
  config: Config;
}

/** Long enough that everybody who works with the appliance comes by. */
const SHOWN_FOR_MS = 30 * 24 * 3_600_000;

export async function currentBanners(deps: BannerDeps): Promise<Session['banners']> {
  const row = await getAppliance(deps.db);
  const banners: Session['banners'] = [];
  if (row.stage !== 'production')
    banners.push({ kind: 'stage', message: `This is a ${row.stage} appliance.` });
  const recent = (at: Date | null) => at !== null && deps.clock.now().getTime() - at.getTime() < SHOWN_FOR_MS;
  if (row.console_recovery_at !== null && recent(row.console_recovery_at)) {
    banners.push({
      kind: 'console-recovery',
      message: `The owner's password was reset at the console on ${day(row.console_recovery_at)}, with the recovery kit. If nobody of you did that, look at the audit log now.`,
    });
  }
  const quarantine = await readQuarantine(deps.db);
  const setBack = await lastSetBack(deps);
  if (setBack !== undefined && recent(new Date(setBack.at))) banners.push(setBack.banner);
  else if (quarantine === undefined && row.recovered_at !== null && recent(row.recovered_at)) {
    banners.push({
      kind: 'recovered',
      message: `This appliance was recovered from a backup on ${day(row.recovered_at)}. What came after that snapshot is not in it.`,
    });
  }
  if (await isKitUnproven(deps)) {
    banners.push({
      kind: 'kit-unproven',
      message:
        'No recovery kit is proven: nothing can be backed up, and a lost machine would be lost for good.',
    });
  }
  if (quarantine !== undefined) {
    banners.push({
      kind: 'quarantine',
      message:
        quarantine.kind !== 'copy'
          ? `This appliance waits for its owner: ${quarantine.reason}. Nothing leaves it, and nobody else works with it.`
          : `Nothing is backed up: this appliance waits for its owner, because ${quarantine.reason}`,
    });
  }
  const expiry = await readExpiry(deps).catch(() => undefined);
  if (expiry !== undefined) banners.push({ kind: 'certificate', message: `${expiry.message}.` });
  const restart = await plannedRestart(deps);
  if (restart !== undefined) banners.push({ kind: 'update', message: restart });
  const ssh = await openSsh(deps);
  if (ssh !== undefined) banners.push({ kind: 'ssh-open', message: ssh });
  return banners;
}

/** Whose data are older than they remember: people look for what they have written since. */
async function lastSetBack(
  deps: Pick<BannerDeps, 'config'>,
): Promise<{ at: string; banner: Session['banners'][number] } | undefined> {
  const { record } = (await connectHost(deps.config)
    ?.get<SetBackView>('/set-back')
    .catch(() => undefined)) ?? { record: null };
  const at = record?.movedAt;
  if (record === null || at == null || !['starting', 'kept', 'discarded'].includes(record.state))
    return undefined;
  const kept =
    record.keptUntil === null ? '' : ` The data from before are kept until ${minute(record.keptUntil)}.`;
  const message = `This appliance was set back on ${minute(at)}: its data are those of ${minute(record.moment ?? record.snapshot.takenAt)}.${kept}`;
  return { at, banner: { kind: 'set-back', message } };
}

/** Everybody is told before the machine restarts for an update; hostd may be restarting itself. */
async function plannedRestart(deps: Pick<BannerDeps, 'config'>): Promise<string | undefined> {
  const host = connectHost(deps.config);
  const current = await host?.get<CurrentUpdate>('/updates/current').then(
    (overview) => overview.current,
    () => null,
  );
  if (current?.state === 'rebooting') return 'This appliance is restarting for an update.';
  if (current?.state !== 'ready' || current.rebootAt === null) return undefined;
  return `This appliance restarts for an update on ${minute(current.rebootAt)}. It is away for a few minutes; save your work before.`;
}

/** Nobody works here without knowing that somebody may be signed in to the machine below. */
async function openSsh(deps: Pick<BannerDeps, 'config'>): Promise<string | undefined> {
  const state = await connectHost(deps.config)
    ?.get<SshState>('/ssh')
    .catch(() => undefined);
  if (!state?.open) return undefined;
  return `SSH to this machine is open until ${minute(state.open.until)}.`;
}

/** keyd may be starting; a page without this banner is better than no page, and `doctor` tells of keyd itself. */
async function isKitUnproven(deps: BannerDeps): Promise<boolean> {
  const status = await deps.keys.status().catch(() => undefined);
  return status?.repository.kits.length === 0;
}

/** `2026-11-22 06:15 UTC`. */
function minute(at: string): string {
  return `${at.slice(0, 16).replace('T', ' ')} UTC`;
}

function day(at: Date): string {
  return at.toISOString().slice(0, 10);
}
