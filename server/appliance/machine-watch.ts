/** Notices that the data came to another machine: a clone of the virtual machine, or its disk in a new one. */
import { noteMachine, quarantine } from '../backups/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { Config } from '../lib/config.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { connectHost } from './host/client.ts';

export interface MachineWatchDeps {
  config: Pick<Config, 'hostSocket'>;
  db: Database;
  clock: Clock;
}

/** Where Holdfast does not run on its own machine image there is nothing to do. */
export async function watchMachine(deps: MachineWatchDeps): Promise<void> {
  const { identity } = (await connectHost(deps.config)?.get<{ identity: string | null }>('/identity')) ?? {};
  if (identity === undefined || identity === null) return;
  const noted = await writeTransaction(deps.db, (tx) => noteMachine(tx, identity));
  if (noted === identity) return;
  await quarantine(
    deps,
    'it runs on another machine than before. If the machine was copied, the other one may still write to the same target.',
  );
}
