/** Turns write-only mode on in a process of its own, which a crash point may kill. */
import { setWriteOnly } from '../../server/appliance/kits/write-only.ts';
import { connectKeyd, credentialPath } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { loadConfig } from '../../server/lib/config.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { openDatabase, type DatabaseAddress } from '../../server/lib/db.ts';

const { address, dataDir } = JSON.parse(process.env.HOLDFAST_TEST_ORDER ?? '{}') as {
  address: DatabaseAddress;
  dataDir: string;
};
const { run, keydSocket } = dataPaths(dataDir);
const keys = await connectKeyd({
  socketPath: keydSocket,
  credentialFile: credentialPath(run, 'server'),
  role: 'server',
  clock: systemClock,
});
const db = openDatabase(address, { name: 'child', max: 2 });
const config = { ...loadConfig({}), dataDir };
await setWriteOnly(
  { db, config, clock: systemClock, keys, snapshotBrowser: { stop: async () => undefined } },
  { on: true, follows: 1, reason: 'Nobody reads them here' },
  { kind: 'console', label: 'root' },
);
process.exit(0);
