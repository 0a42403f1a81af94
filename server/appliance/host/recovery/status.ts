/** How far a recovery is: a small file in memory that hostd writes, and page and console read. Gone with the power, as the recovery is. */
import { join } from 'node:path';
import type { Clock } from '../../../lib/clock.ts';
import type { HostPlaces } from '../host-places.ts';
import { readStateFile, writeStateFile } from '../state-file.ts';
import { RecoveryStatus, type RecoveryProblem, type RecoveryProgress } from './schema.ts';

type Places = Pick<HostPlaces, 'run'>;
interface StatusDeps {
  places: Places;
  clock: Clock;
}

const NONE: RecoveryStatus = {
  act: 'recovery',
  dataFrom: null,
  state: 'none',
  step: null,
  bytesDone: 0,
  bytesTotal: null,
  filesDone: 0,
  startedAt: null,
  endedAt: null,
  problem: null,
};

/** Folder of what belongs to one recovery, in memory. */
export function recoveryFolder(places: Places): string {
  return join(places.run, 'recovery');
}

export async function readRecoveryStatus(places: Places): Promise<RecoveryStatus> {
  return (await readStateFile(statusPath(places), RecoveryStatus).catch(() => undefined)) ?? NONE;
}

/** @param about what is done; a recovery onto a blank machine unless said otherwise. */
export async function noteStarted(
  { places, clock }: StatusDeps,
  about: Partial<Pick<RecoveryStatus, 'act' | 'dataFrom' | 'step'>> = {},
): Promise<void> {
  await write(places, {
    ...NONE,
    state: 'running',
    step: 'Making room on this machine',
    ...about,
    startedAt: clock.now().toISOString(),
  });
}

/** What a new step counts begins at nothing. */
export async function noteProgress({ places }: StatusDeps, progress: RecoveryProgress): Promise<void> {
  const present = await readRecoveryStatus(places);
  if (present.state !== 'running') return;
  const fresh = progress.step === undefined ? {} : { bytesDone: 0, bytesTotal: null, filesDone: 0 };
  await write(places, { ...present, ...fresh, ...progress });
}

export async function noteEnded(
  { places, clock }: StatusDeps,
  problem: RecoveryProblem | undefined,
): Promise<void> {
  const present = await readRecoveryStatus(places);
  await write(places, {
    ...present,
    state: problem === undefined ? 'done' : 'failed',
    step: null,
    endedAt: clock.now().toISOString(),
    problem: problem ?? null,
  });
}

function statusPath(places: Places): string {
  return join(recoveryFolder(places), 'status.json');
}

async function write(places: Places, status: RecoveryStatus): Promise<void> {
  await writeStateFile(statusPath(places), status, { step: 'host.recovery-status', mode: 0o644 });
}
