/** Takes in a list of leaked passwords, in a process of its own that a crash point may kill. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { systemActor } from '../../server/audit/index.ts';
import { importLeakedList } from '../../server/identity/passwords/leaked-passwords.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { openDatabase, type DatabaseAddress } from '../../server/lib/db.ts';

export interface LeakOrder {
  address: DatabaseAddress;
  dataDir: string;
  file: string;
}

const order = JSON.parse(process.env.HOLDFAST_TEST_ORDER ?? '{}') as LeakOrder;
const db = openDatabase(order.address, { name: 'child', max: 2 });
const { size } = await stat(order.file);
const source = { content: createReadStream(order.file), sizeBytes: size, atLeast: 1 };
await importLeakedList({ db, clock: systemClock, dataDir: order.dataDir }, source, systemActor('test'));
process.exit(0);
