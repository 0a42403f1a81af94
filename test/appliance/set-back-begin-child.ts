/** Begins a set-back in a process of its own, which a crash point may kill. */
import { startSetBack } from '../../server/appliance/set-back/service.ts';
import { openSealer } from '../../server/keys/index.ts';
import { createLog } from '../../server/lib/log.ts';
import { openPlace, readOrder, type OrderedPlace } from '../helpers/child-order.ts';

const order = readOrder() as OrderedPlace & {
  hostSocket: string;
  userId: string;
  body: { snapshot: string; kit: string; name: string };
};
const deps = await openPlace(order);
const { dataDir, hostSocket, userId, body } = order;
await startSetBack(
  {
    ...deps,
    sealer: openSealer(deps.keys),
    dataDir,
    config: { hostSocket },
    log: createLog('silent', 'test'),
  },
  { kind: 'user', id: userId },
  body,
);
process.exit(0);
