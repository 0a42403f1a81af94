/**
 * Brings the folders of a set-back to where its record says that they are going. Called before anything starts on the data folder:
 * at each start of the machine, and by hostd once the snapshot is recovered or the data from before are wanted back.
 *
 * Guarantees: until the data of the snapshot are whole, the data from before are the live ones; from then on the folders go
 * forward. Whatever was cut off, the next call ends with one whole live folder.
 */
import { isWholeFolder, setBackFolders } from '../../../lib/data-folder.ts';
import { HoldfastError } from '../../../lib/errors.ts';
import type { HostDeps } from '../host-app.ts';
import type { RecoveryProblem } from '../recovery/schema.ts';
import { readRecoveryStatus } from '../recovery/status.ts';
import { carryAlong, isThere, letGo, moveBack, moveIn } from './folders.ts';
import { isUnderWay, moveTo, readSetBack, type RecordDeps } from './record.ts';
import type { SetBackRecord } from './schema.ts';

const CUT_OFF: RecoveryProblem = {
  message: 'The machine was cut off before the data of the snapshot were whole',
  hint: 'Nothing is lost: the data from before are the ones in use. Start it again when the machine may stay on.',
};

/**
 * @param problem why what is being recovered is given up; without one it goes on when it is whole.
 * @returns the record as it is now; undefined on a machine that was never set back.
 */
export async function settleSetBack(
  deps: RecordDeps,
  problem?: RecoveryProblem,
): Promise<SetBackRecord | undefined> {
  let record = await readSetBack(deps.dataDir);
  while (record !== undefined && isUnderWay(record.state)) record = await goOn(deps, record, problem);
  if (record !== undefined) await letGoOfRest(deps.dataDir, record);
  return record;
}

/**
 * Before the services of a start. A record that cannot be read (damaged, or of a newer version) stops no machine whose live folder is there.
 *
 * @throws HoldfastError `wrong_state` while hostd is at it: it starts them when it is over.
 */
export async function settleAtStart(
  deps: RecordDeps & Pick<HostDeps, 'places' | 'log'>,
): Promise<SetBackRecord | undefined> {
  let record: SetBackRecord | undefined;
  try {
    record = await readSetBack(deps.dataDir);
  } catch (error) {
    if (!(await isThere(deps.dataDir))) throw error;
    deps.log.error({ err: error }, 'The last set-back of this machine is not known any more');
    return undefined;
  }
  if (record !== undefined && isUnderWay(record.state)) {
    const { state } = await readRecoveryStatus(deps.places);
    if (state === 'running') {
      throw new HoldfastError('wrong_state', 'This appliance is being set back', {
        hint: 'It starts by itself when that is over.',
      });
    }
  }
  return settleSetBack(deps);
}

async function goOn(
  deps: RecordDeps,
  record: SetBackRecord,
  problem: RecoveryProblem | undefined,
): Promise<SetBackRecord> {
  const { dataDir, clock } = deps;
  const { fresh } = setBackFolders(dataDir);
  switch (record.state) {
    case 'recovering': {
      if (problem !== undefined || !(await isWholeFolder(fresh)))
        return moveTo(deps, record, 'failed', { problem: problem ?? CUT_OFF });
      await carryAlong(dataDir, fresh);
      return moveTo(deps, record, 'moving-in', { movedAt: clock.now().toISOString() });
    }
    case 'moving-in':
      await moveIn(dataDir);
      // With a problem it is an undoing that failed: these data have served before.
      return moveTo(deps, record, record.problem === null ? 'starting' : 'kept');
    default:
      await moveBack(dataDir);
      return moveTo(deps, record, record.problem === null ? 'starting-back' : 'failed');
  }
}

/** What no state of the record can make live again. */
async function letGoOfRest(dataDir: string, { state }: SetBackRecord): Promise<void> {
  const { fresh, before } = setBackFolders(dataDir);
  if (state === 'failed' || state === 'undone') await letGo(dataDir, fresh);
  if (state === 'discarded') await letGo(dataDir, before);
}
