/** One run of the kind `prune` in a process of its own, which a crash point may kill. */
import { runPrune } from '../../server/backups/index.ts';
import { connectKeyd, credentialPath, openRunSealer } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { openDatabase, type DatabaseAddress } from '../../server/lib/db.ts';
import type { JsonObject } from '../../server/lib/tables.ts';

const { address, dataDir, row } = JSON.parse(process.env.HOLDFAST_TEST_ORDER ?? '{}') as {
  address: DatabaseAddress;
  dataDir: string;
  row: { id: string; input: JsonObject };
};
const { run, keydSocket } = dataPaths(dataDir);
const keys = await connectKeyd({
  socketPath: keydSocket,
  credentialFile: credentialPath(run, 'run'),
  role: 'run',
  clock: systemClock,
});
const db = openDatabase(address, { name: 'child', max: 4 });
const sealer = openRunSealer(keys, row.id);
await runPrune(
  { db, clock: systemClock, dataDir, keys, sealer },
  {
    ...{ runId: row.id, kind: 'prune', input: row.input, cause: 'person', requestedBy: undefined },
    signal: new AbortController().signal,
    report: () => undefined,
    step: async () => undefined,
    log: async () => undefined,
  },
);
process.exit(0);
