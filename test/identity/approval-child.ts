/** Settles due approvals in a process of its own, which a crash point may kill. */
import { approvalActs } from '../../server/approval-acts.ts';
import { settleApprovals } from '../../server/identity/index.ts';
import { openSealer } from '../../server/keys/index.ts';
import { openPlace, readOrder, type OrderedPlace } from '../helpers/child-order.ts';

const opened = await openPlace(readOrder() as OrderedPlace);
const deps = { ...opened, sealer: openSealer(opened.keys), config: { hostSocket: undefined } };
await settleApprovals({ ...deps, acts: approvalActs(deps) });
process.exit(0);
