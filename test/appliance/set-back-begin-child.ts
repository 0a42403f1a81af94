/** Begins a set-back in a process of its own, which a crash point may kill. */
import { startSetBack } from '../../server/appliance/set-back/service.ts';
import { connectKeyd, credentialPath, openSealer } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { openDatabase, type DatabaseAddress } from '../../server/lib/db.ts';
import { createLog } from '../../server/lib/log.ts';

const { address, dataDir, hostSocket, userId, body } = JSON.parse(
  process.env.HOLDFAST_TEST_ORDER ?? '{}',
) as {
  address: DatabaseAddress;
  dataDir: string;
  hostSocket: string;
  userId: string;
  body: { snapshot: string; kit: string; name: string };
};
const { run, keydSocket } = dataPaths(dataDir);
const keys = await connectKeyd({
  socketPath: keydSocket,
  credentialFile: credentialPath(run, 'server'),
  role: 'server',
  clock: systemClock,
});
const db = openDatabase(address, { name: 'child', max: 2 });
const deps = { db, clock: systemClock, keys, sealer: openSealer(keys), dataDir, config: { hostSocket } };
await startSetBack({ ...deps, log: createLog('silent', 'test') }, { kind: 'user', id: userId }, body);
process.exit(0);
