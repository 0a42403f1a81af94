/** Ships the log in a process of its own, as the worker's child does, until it is told to stop; a crash point may kill it. */
import { createLog } from '../../../server/lib/log.ts';
import { runShipper } from '../../../server/backups/index.ts';
import { connectKeyd, credentialPath, openSealer } from '../../../server/keys/index.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { dataPaths } from '../../../server/lib/data-folder.ts';
import { openDatabase, type DatabaseAddress } from '../../../server/lib/db.ts';

const order = JSON.parse(process.env.HOLDFAST_TEST_ORDER ?? '{}') as {
  address: DatabaseAddress;
  dataDir: string;
  shipId: string;
};
const { run, keydSocket } = dataPaths(order.dataDir);
const keys = await connectKeyd({
  socketPath: keydSocket,
  credentialFile: credentialPath(run, 'run'),
  role: 'run',
  clock: systemClock,
});
await keys.takeLiveKeys(order.shipId);
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());
const db = openDatabase(order.address, { name: 'ship child', max: 4 });
await runShipper(
  {
    ...{ db, clock: systemClock, dataDir: order.dataDir, keys, sealer: openSealer(keys) },
    adminAddress: order.address,
    log: createLog('warn', 'ship'),
  },
  stop.signal,
  { lookEveryMs: 100, shipEveryMs: 200 },
);
process.exit(0);
