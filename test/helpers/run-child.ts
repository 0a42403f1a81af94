/** One run in a process of its own, which a crash point may kill. */
import { findRunFunction } from '../../server/jobs.ts';
import { connectKeyd, credentialPath, openRunSealer } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { loadConfig } from '../../server/lib/config.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { openDatabase, type DatabaseAddress } from '../../server/lib/db.ts';
import { createLog } from '../../server/lib/log.ts';
import type { RunKind } from '../../server/lib/run-schema.ts';
import type { JsonObject } from '../../server/lib/tables.ts';
import { moveClock } from './appliance.ts';

const { address, appAddress, dataDir, offsetMs, row } = JSON.parse(
  process.env.HOLDFAST_TEST_ORDER ?? '{}',
) as {
  /** Of who may copy the whole cluster. */
  address: DatabaseAddress;
  appAddress: DatabaseAddress;
  dataDir: string;
  offsetMs: number;
  row: { id: string; kind: RunKind; input: JsonObject };
};
const { run, keydSocket } = dataPaths(dataDir);
const keys = await connectKeyd({
  socketPath: keydSocket,
  credentialFile: credentialPath(run, 'run'),
  role: 'run',
  clock: systemClock,
});
const deps = {
  config: { ...loadConfig({}), dataDir, logLevel: 'error' as const },
  ...{ dataDir, clock: moveClock(offsetMs), log: createLog('silent', 'test') },
  db: openDatabase(address, { name: 'child', max: 5 }),
  ...{ databaseAddress: appAddress, adminAddress: address },
  ...{ keys, sealer: openRunSealer(keys, row.id), close: async () => undefined },
};
await findRunFunction(row.kind)(deps, {
  ...{ runId: row.id, kind: row.kind, input: row.input, cause: 'person', requestedBy: undefined },
  signal: new AbortController().signal,
  report: () => undefined,
  step: async () => undefined,
  log: async () => undefined,
});
process.exit(0);
