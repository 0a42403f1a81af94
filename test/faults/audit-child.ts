/** Works on an audit log, in a process of its own that a crash point may kill. */
import { expireDueEntries, makeCheckpoint, sequenceEntries } from '../../server/audit/index.ts';
import { anchorTo } from '../../server/backups/anchors.ts';
import { getTarget } from '../../server/backups/index.ts';
import { connectKeyd, credentialPath, openSealer } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { openDatabase, type DatabaseAddress } from '../../server/lib/db.ts';

export interface AuditOrder {
  address: DatabaseAddress;
  /** Where keyd is; absent for placing entries, which needs no key. */
  dataDir?: string;
  /** Lets entries go whose period has ended. */
  expire?: boolean;
  /** Signs, and anchors there. */
  targetId?: string;
}

const order = JSON.parse(process.env.HOLDFAST_TEST_ORDER ?? '{}') as AuditOrder;
const db = openDatabase(order.address, { name: 'child', max: 3 });
if (order.expire === true) await expireDueEntries({ db, clock: systemClock });
else if (order.dataDir === undefined) await sequenceEntries(db);
else {
  const { run, keydSocket } = dataPaths(order.dataDir);
  const keys = await connectKeyd({
    socketPath: keydSocket,
    credentialFile: credentialPath(run, 'run'),
    role: 'run',
    clock: systemClock,
  });
  const deps = { db, clock: systemClock, keys, sealer: openSealer(keys) };
  const checkpoint = await makeCheckpoint(deps);
  if (order.targetId !== undefined) await anchorTo(deps, await getTarget(db, order.targetId), checkpoint);
}
process.exit(0);
