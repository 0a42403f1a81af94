/** Settles due approvals in a process of its own, which a crash point may kill. */
import { approvalActs } from '../../server/approval-acts.ts';
import { settleApprovals } from '../../server/identity/index.ts';
import { connectKeyd, credentialPath, openSealer } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
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
const deps = { db, clock: systemClock, keys, sealer: openSealer(keys), config: { hostSocket: undefined } };
await settleApprovals({ ...deps, acts: approvalActs(deps) });
process.exit(0);
