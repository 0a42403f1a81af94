/**
 * What a test orders of a process of its own, which a crash point may kill: told in the environment, with the database and keyd opened as
 * the server does.
 */
import { connectKeyd, credentialPath, type KeyClient } from '../../server/keys/index.ts';
import { systemClock, type Clock } from '../../server/lib/clock.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { openDatabase, type Database, type DatabaseAddress } from '../../server/lib/db.ts';

export interface OrderedPlace {
  address: DatabaseAddress;
  dataDir: string;
}

/** As `runChild` gave it. */
export function readOrder(): unknown {
  return JSON.parse(process.env.HOLDFAST_TEST_ORDER ?? '{}');
}

/** What acts take. */
export async function openPlace({
  address,
  dataDir,
}: OrderedPlace): Promise<{ db: Database; clock: Clock; keys: KeyClient }> {
  const { run, keydSocket } = dataPaths(dataDir);
  const keys = await connectKeyd({
    socketPath: keydSocket,
    credentialFile: credentialPath(run, 'server'),
    role: 'server',
    clock: systemClock,
  });
  return { db: openDatabase(address, { name: 'child', max: 2 }), clock: systemClock, keys };
}
