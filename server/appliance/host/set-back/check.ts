/** What must hold before anything is stopped for a set-back. */
import { readFreeBytes } from '../../../lib/data-disk.ts';
import { HoldfastError } from '../../../lib/errors.ts';
import { isBlank } from '../machine-recovery.ts';
import { openDirectory, requireSnapshot } from '../recovery/choose.ts';
import { lookAt } from '../recovery/look-launch.ts';
import { readRecoveryStatus } from '../recovery/status.ts';
import { isSettled, readSetBack } from './record.ts';
import type { CheckedSetBack, CheckSetBackRequest, SetBackRecord } from './schema.ts';
import type { SetBackDeps } from './work.ts';

const MIB = 1024 ** 2;
/** The log of the database while it is recovered, the catalogue, and room to start with. */
const MARGIN_BYTES = 512 * MIB;
/** What a file takes beyond its bytes: the rest of its last block, and its inode. */
const FILE_BYTES = 4 * 1024;

type Checked = CheckedSetBack & { snapshot: SetBackRecord['snapshot'] };

/**
 * @param insist warnings and lack of room are refused instead of told.
 * @throws HoldfastError `wrong_state`, `wrong_key`, `no_repository`, `not_found`, `no_space`, `unavailable`
 */
export async function checkSetBack(
  deps: SetBackDeps,
  request: CheckSetBackRequest,
  insist?: { acceptWarnings: boolean },
): Promise<Checked> {
  await refuseNow(deps);
  await refuseKept(deps);
  await deps.shares.mountAll();
  const path = await openDirectory(deps.directories, request.place);
  const { kit, knownHead } = request;
  const { opened } = await lookAt(deps.launch, {
    ...{ path, kit },
    ...(knownHead === undefined ? {} : { knownHead }),
  });
  const found = requireSnapshot(opened, request.snapshot, insist?.acceptWarnings ?? true);
  if (request.moment !== undefined && Date.parse(request.moment) < Date.parse(found.takenAt))
    throw new HoldfastError('invalid_input', 'This moment lies before the snapshot');
  const needBytes = found.dataBytes + found.fileCount * FILE_BYTES + MARGIN_BYTES + (request.laterBytes ?? 0);
  const freeBytes = await readFreeBytes(deps.places.data);
  if (insist !== undefined && freeBytes < needBytes) throw noRoom(needBytes, freeBytes);
  const { id, number, takenAt } = found;
  return { warnings: opened?.warnings ?? [], needBytes, freeBytes, snapshot: { id, number, takenAt } };
}

/** @throws HoldfastError `wrong_state` while something else has the machine. */
export async function refuseNow(deps: SetBackDeps): Promise<void> {
  if (await isBlank(deps)) throw new HoldfastError('wrong_state', 'This machine has no owner yet');
  const record = await readSetBack(deps.dataDir);
  if (record !== undefined && !isSettled(record.state))
    throw new HoldfastError('wrong_state', 'A set-back is under way already');
  if ((await readRecoveryStatus(deps.places)).state === 'running')
    throw new HoldfastError('wrong_state', 'A recovery is under way already');
  const version = await deps.updateUnderWay();
  if (version === undefined) return;
  throw new HoldfastError('wrong_state', `An update to ${version} is under way`, {
    hint: 'Wait for it, or cancel it first.',
  });
}

async function refuseKept({ dataDir }: SetBackDeps): Promise<void> {
  if ((await readSetBack(dataDir))?.state !== 'kept') return;
  throw new HoldfastError('wrong_state', 'The data from before the last set-back are still set aside', {
    hint: 'Undo that one first, then choose another snapshot: nothing is lost that way. Or discard them.',
  });
}

function noRoom(needBytes: number, freeBytes: number): HoldfastError {
  const mib = (bytes: number) => `${Math.floor(bytes / MIB).toLocaleString('en-GB')} MiB`;
  return new HoldfastError('no_space', 'There is too little room on the data volume to be set back', {
    hint: `The present data stay beside those of the snapshot: it needs ${mib(needBytes)}, and ${mib(freeBytes)} are free. Make the disk larger at the hypervisor and grow the volume, then try again.`,
  });
}
