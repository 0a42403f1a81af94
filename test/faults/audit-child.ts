/** Places what waits in an audit log, in a process of its own that a crash point may kill. */
import { sequenceEntries } from '../../server/audit/index.ts';
import { openDatabase, type DatabaseAddress } from '../../server/lib/db.ts';

const address = JSON.parse(process.env.HOLDFAST_TEST_ORDER ?? '{}') as DatabaseAddress;
const db = openDatabase(address, { name: 'child', max: 2 });
await sequenceEntries(db);
await db.destroy();
process.exit(0);
