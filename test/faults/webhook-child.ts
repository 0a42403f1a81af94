/** Delivers what is queued, in a process of its own that a crash point may kill. */
import { connectKeyd, credentialPath, openSealer } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { openDatabase } from '../../server/lib/db.ts';
import { createLog } from '../../server/lib/log.ts';
import { deliverDue } from '../../server/monitoring/webhooks/deliver.ts';
import type { MailOrder } from './mail-child.ts';

const order = JSON.parse(process.env.HOLDFAST_TEST_ORDER ?? '{}') as MailOrder;
const { run, keydSocket } = dataPaths(order.dataDir);
const clock = { ...systemClock, now: () => new Date(systemClock.now().getTime() + order.offsetMs) };
const keys = await connectKeyd({
  socketPath: keydSocket,
  credentialFile: credentialPath(run, 'server'),
  role: 'server',
  clock: systemClock,
});
const deps = {
  ...{ db: openDatabase(order.address, { name: 'child', max: 3 }), clock, keys, sealer: openSealer(keys) },
  log: createLog('silent', 'test'),
  isHeld: () => Promise.resolve(false),
};
while ((await deliverDue(deps)) > 0);
process.exit(0);
