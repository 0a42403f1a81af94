/** Re-keys in a process of its own, which a crash point may kill. */
import { rekey } from '../../server/appliance/kits/rekey.ts';
import { openPlace, readOrder, type OrderedPlace } from '../helpers/child-order.ts';

const deps = await openPlace(readOrder() as OrderedPlace);
await rekey(deps, { follows: 1, reason: 'A kit was lost' }, { kind: 'console', label: 'root' });
process.exit(0);
