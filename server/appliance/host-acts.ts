/**
 * Takes acts outside the application into the audit log: what hostd, the unlocking and the console did, with who did it. Guarantees:
 * each is entered once. Its id is that of the entry, which is unique; it leaves the machine's journal only when the entries are
 * committed, so a kill in between leads to a second try that finds it there.
 */
import { recordAudit } from '../audit/index.ts';
import type { KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { crashPoint } from '../lib/crash-point.ts';
import type { Config } from '../lib/config.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { connectHost } from './host/client.ts';
import type { HostAct } from './host/schema.ts';

export interface HostActDeps {
  config: Pick<Config, 'hostSocket'>;
  db: Database;
  clock: Clock;
  keys: Pick<KeyClient, 'renewAuditLog'>;
}

/** The data that stepped aside came back by themselves: those that served for a moment may have had their log signed meanwhile. */
const CAME_BACK = new Set(['host.set-back.failed', 'host.set-back.undo-failed']);

/** Where Holdfast does not run on its own machine image there is nothing to do. @returns how many were taken. */
export async function enterHostActs(deps: HostActDeps): Promise<number> {
  const host = connectHost(deps.config);
  if (host === undefined) return 0;
  for (let taken = 0; ;) {
    const { items } = await host.get<{ items: HostAct[] }>('/journal');
    if (items.length === 0) return taken;
    // Before they are entered: after a kill it is done once more, which the log says and no verification minds.
    if (items.some(({ action }) => CAME_BACK.has(action))) await deps.keys.renewAuditLog();
    await writeTransaction(deps.db, async (tx) => {
      for (const act of items) {
        const { id, at, actor, detail, ...record } = act;
        await recordAudit(tx, deps.clock, actor, { ...record, id, detail: { ...detail, happenedAt: at } });
      }
    });
    crashPoint('appliance.host-acts.committed');
    await host.send('POST', '/journal/entered', { ids: items.map((act) => act.id) });
    taken += items.length;
  }
}
