/** Does to a test appliance's files what it is told, in a process of its own that a crash point may kill. */
import { connectKeyd, credentialPath, openSealer } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { openDatabase, type DatabaseAddress } from '../../server/lib/db.ts';
import { createLog } from '../../server/lib/log.ts';
import { addFile, collectDoomedContents, importDirectory } from '../../server/workspaces/index.ts';

export interface ChildOrder {
  dataDir: string;
  address: DatabaseAddress;
  folderId: string;
  act: 'upload' | 'replace' | 'import' | 'collect';
  name: string;
  /** Content of the file, or the source of the import. */
  content: string;
}

const order = JSON.parse(process.env.HOLDFAST_TEST_ORDER ?? '{}') as ChildOrder;
const { run, keydSocket } = dataPaths(order.dataDir);
const keys = await connectKeyd({
  socketPath: keydSocket,
  credentialFile: credentialPath(run, 'server'),
  role: 'server',
  clock: systemClock,
});
const db = openDatabase(order.address, { name: 'child', max: 4 });
const log = createLog('silent', 'child');
const deps = { dataDir: order.dataDir, db, clock: systemClock, log, keys, sealer: openSealer(keys) };
const actor = { kind: 'system', label: 'child' } as const;

if (order.act === 'collect') await collectDoomedContents(deps);
else if (order.act === 'import') {
  await importDirectory(deps, { sourceDir: order.content, folderId: order.folderId, actor });
} else {
  await addFile(deps, actor, {
    folderId: order.folderId,
    name: order.name,
    content: (async function* () {
      yield Buffer.from(order.content);
    })(),
    mtimeNs: '1700000000000000000',
    onConflict: order.act === 'replace' ? 'replace' : 'refuse',
  });
}
process.exit(0);
