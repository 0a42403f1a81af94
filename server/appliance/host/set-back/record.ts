/**
 * What is remembered of the last set-back: one small file beside the folders that it speaks of, on the same volume. It is written
 * before each step that it announces, so that a start after a power cut knows which way the folders were on.
 */
import type { Clock } from '../../../lib/clock.ts';
import { setBackFolders } from '../../../lib/data-folder.ts';
import { makePrivateDirectory } from '../../../lib/files.ts';
import { readStateFile, writeStateFile } from '../state-file.ts';
import { SetBackRecord, type SetBackState } from './schema.ts';

export interface RecordDeps {
  /** HOLDFAST_DATA on this machine. */
  dataDir: string;
  clock: Clock;
}

/** @returns undefined on a machine that was never set back. @throws HoldfastError `integrity_failure` when it cannot be read. */
export function readSetBack(dataDir: string): Promise<SetBackRecord | undefined> {
  return readStateFile(setBackFolders(dataDir).record, SetBackRecord);
}

export async function writeSetBack(dataDir: string, record: SetBackRecord): Promise<SetBackRecord> {
  const { top, record: path } = setBackFolders(dataDir);
  // Other accounts pass through to data that are being recovered, as they do through the data folder.
  await makePrivateDirectory(top, 0o711);
  await writeStateFile(path, record, { step: `set-back.record.${record.state}` });
  return record;
}

/** The next state, with what changes. @returns what lies on the disk now. */
export function moveTo(
  { dataDir, clock }: RecordDeps,
  record: SetBackRecord,
  state: SetBackState,
  change: Partial<SetBackRecord> = {},
): Promise<SetBackRecord> {
  return writeSetBack(dataDir, { ...record, ...change, state, at: clock.now().toISOString() });
}

/** Folders are on their way, or something is recovered for them: until that is over nothing may start on them. */
export function isUnderWay(state: SetBackState): boolean {
  return state === 'recovering' || state === 'moving-in' || state === 'moving-back';
}

/** Nothing of it is to be waited for any more. */
export function isSettled(state: SetBackState): boolean {
  return ['kept', 'undone', 'failed', 'discarded'].includes(state);
}
