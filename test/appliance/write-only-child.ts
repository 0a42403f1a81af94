/** Turns write-only mode on in a process of its own, which a crash point may kill. */
import { setWriteOnly } from '../../server/appliance/kits/write-only.ts';
import { loadConfig } from '../../server/lib/config.ts';
import { openPlace, readOrder, type OrderedPlace } from '../helpers/child-order.ts';

const order = readOrder() as OrderedPlace;
const deps = await openPlace(order);
const config = { ...loadConfig({}), dataDir: order.dataDir };
await setWriteOnly(
  { ...deps, config, snapshotBrowser: { stop: async () => undefined } },
  { on: true, follows: 1, reason: 'Nobody reads them here' },
  { kind: 'console', label: 'root' },
);
process.exit(0);
