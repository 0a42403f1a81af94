/**
 * What support needs to find out what is wrong: versions, states, counts, the last lines of the log. Guarantees: no content of
 * members, no name, e-mail or address of a person, no secret; people and workspaces appear as opaque ids at most.
 */
import { recordAudit, type Actor } from '../audit/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { SOFTWARE_VERSION } from '../lib/version.ts';
import { connectHost } from './host/client.ts';
import type { HostSupport } from './host/support.ts';
import { hostActor, type HostMachineDeps } from './host-machine.ts';
import { countForSupport } from './support-queries.ts';

export interface SupportBundle {
  product: 'holdfast';
  softwareVersion: string;
  nodeVersion: string;
  madeAt: string;
  application: Awaited<ReturnType<typeof countForSupport>>;
  /** Absent where Holdfast does not run on its own machine image. */
  machine?: HostSupport;
}

const TIMEOUT_MS = 120_000;

export async function collectSupportBundle(deps: HostMachineDeps, actor: Actor): Promise<SupportBundle> {
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, actor, { action: 'host.support-bundle.made', objectType: 'machine' }),
  );
  const machine = await connectHost(deps.config)?.send<HostSupport>(
    'POST',
    '/support-bundle',
    { actor: hostActor(actor) },
    TIMEOUT_MS,
  );
  return {
    product: 'holdfast',
    softwareVersion: SOFTWARE_VERSION,
    nodeVersion: process.version,
    madeAt: deps.clock.now().toISOString(),
    application: await countForSupport(deps.db),
    ...(machine === undefined ? {} : { machine }),
  };
}
