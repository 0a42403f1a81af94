/**
 * A recovery that somebody starts in a browser, on a machine that has no owner yet.
 *
 * Guarantees: nothing is stopped or removed before the kit has opened the repository and the wanted snapshot was seen in it; the
 * kit lies in memory only, as long as the recovery runs; whatever ends the recovery before it is whole leaves an empty machine that
 * runs, and the reason in words.
 */
import { isDeepStrictEqual } from 'node:util';
import { dirname } from 'node:path';
import { HoldfastError } from '../../../lib/errors.ts';
import { readFileIfPresent } from '../../../lib/files.ts';
import { hasTpm } from '../host-state.ts';
import { endRecovery, isBlank, requireBlank } from '../machine-recovery.ts';
import type { HostActor } from '../schema.ts';
import { recoveryFilePath, writeRecoveryFile } from '../setup-from-cloud.ts';
import type { Shares } from '../shares/shares.ts';
import { openDirectory, requireSnapshot } from './choose.ts';
import { lookIn, type LookLaunch } from './look-launch.ts';
import type { LookAnswer, LookRequest, RecoveryPlace, StartRecoveryRequest } from './schema.ts';
import { leaveStage, type StageDeps } from './stage.ts';
import { noteStarted, readRecoveryStatus } from './status.ts';
import { superviseRecovery } from './supervise.ts';
import { readRecoveryRequest, writeRecoveryRequest } from './wanted.ts';

export interface BrowserRecoveryDeps extends StageDeps {
  shares: Pick<Shares, 'list' | 'add' | 'remove' | 'mountAll'>;
  launch: LookLaunch;
  /** Folders below which a directory may be named. */
  directories: readonly string[];
  hasTpm?: () => Promise<boolean>;
}

export interface BrowserRecovery {
  /** @throws HoldfastError `wrong_state`, `no_repository`, `wrong_key`, `unavailable`, `locked` while another look is taken. */
  look(request: LookRequest): Promise<LookAnswer>;
  /** Answers when it has begun. @throws HoldfastError as `look`; `not_found` for a snapshot that is not there. */
  start(request: StartRecoveryRequest): Promise<void>;
  /** Takes up a recovery that was under way when hostd ended. */
  resume(): Promise<void>;
}

const SYSTEM: HostActor = { kind: 'system', label: 'recovery' };

export function openBrowserRecovery(deps: BrowserRecoveryDeps): BrowserRecovery {
  let busy = false;
  const alone = async <T>(act: () => Promise<T>): Promise<T> => {
    if (busy) {
      throw new HoldfastError('locked', 'Somebody else is looking at this moment', {
        hint: 'Wait until that has ended, a few minutes at most.',
      });
    }
    busy = true;
    try {
      await requireBlank(deps);
      await refuseSecond(deps);
      return await act();
    } finally {
      busy = false;
    }
  };
  return {
    look: (request) => alone(() => lookThere(deps, request)),
    start: (request) => alone(() => startThere(deps, request)),
    resume: async () => {
      const { state } = await readRecoveryStatus(deps.places);
      const present = await readFileIfPresent(recoveryFilePath(deps.places));
      if (state !== 'running' || present === undefined) return;
      if ((await readRecoveryRequest(deps.places)) === undefined) return;
      // With an owner it had come to its end, but for telling so.
      if (await isBlank(deps)) void supervise(deps);
      else await leaveStage(deps);
    },
  };
}

async function lookThere(deps: BrowserRecoveryDeps, request: LookRequest): Promise<LookAnswer> {
  const { folders, added } = await openPlace(deps, request);
  try {
    return (await lookIn(deps.launch, folders, request.kit)).answer;
  } catch (error) {
    // A share in which there is nothing is not kept.
    if (added !== undefined) await deps.shares.remove(added, request.actor).catch(() => undefined);
    throw error;
  }
}

async function startThere(deps: BrowserRecoveryDeps, request: StartRecoveryRequest): Promise<void> {
  const { actor, place, kit, daily, snapshot, oldMachineIsOff, beside } = request;
  if ((oldMachineIsOff === true) === (beside === true)) {
    throw new HoldfastError(
      'invalid_input',
      'Say that the old machine is off for good, or that it may still run: one of them',
      {
        hint: 'Beside a machine that may still run, nothing changes where the backups lie until an owner has looked at what was recovered.',
      },
    );
  }
  if (daily.kind === 'tpm2' && !(await (deps.hasTpm ?? hasTpm)())) {
    throw new HoldfastError('invalid_input', 'This machine has no TPM 2.0', {
      hint: 'Choose a passphrase. A TPM can be added later, on the page Unlock ways.',
    });
  }
  const { folders } = await openPlace(deps, request);
  const { path, answer } = await lookIn(deps.launch, folders, kit);
  requireSnapshot(answer.opened, snapshot, request.acceptWarnings === true);
  await writeRecoveryRequest(deps.places, { actor, place, snapshot });
  await writeRecoveryFile(deps, {
    ...{ from: path, kit, snapshot, acceptWarnings: request.acceptWarnings === true },
    ...(beside === true ? { beside } : { oldMachineIsOff: true }),
    volume: { daily: daily.kind, ...(daily.kind === 'passphrase' ? { passphrase: daily.secret } : {}) },
  });
  await noteStarted(deps);
  void supervise(deps);
}

/** An empty machine that runs is what a recovery leaves that did not come to its end. */
function supervise(deps: BrowserRecoveryDeps): Promise<void> {
  const hint = 'The machine is empty again. The log says more, on the console. Start the recovery again.';
  return superviseRecovery(deps, (problem) => endRecovery(deps, SYSTEM, { ...problem, hint }));
}

async function refuseSecond(deps: BrowserRecoveryDeps): Promise<void> {
  if ((await readRecoveryStatus(deps.places)).state !== 'running') return;
  throw new HoldfastError('wrong_state', 'A recovery is under way already');
}

/** @returns the folders to look in, and the id of a share that was added for it. */
async function openPlace(
  deps: BrowserRecoveryDeps,
  { place, password, actor }: Pick<LookRequest, 'place' | 'password' | 'actor'>,
): Promise<{ folders: string[]; added?: string }> {
  if (place.kind === 'directory') return { folders: [await openDirectory(deps.directories, place.path)] };
  // The folder that appliances of this image use, then the share's top: others were told a folder of their own.
  const foldersOf = ({ path }: { path: string }) => [path, dirname(path)];
  await deps.shares.mountAll();
  const present = (await deps.shares.list()).find((share) => isDeepStrictEqual(share.place, place));
  if (present?.state === 'mounted') return { folders: foldersOf(present) };
  // Given again, perhaps with another password.
  if (present !== undefined) await deps.shares.remove(present.id, actor);
  const added = await deps.shares.add({
    ...{ actor, place, label: labelOf(place) },
    ...(password === undefined ? {} : { password }),
  });
  return { folders: foldersOf(added), added: added.id };
}

function labelOf(place: Exclude<RecoveryPlace, { kind: 'directory' }>): string {
  if (place.kind === 'disk') return `Disk ${place.uuid}`;
  return place.kind === 'nfs'
    ? `${place.server}:${place.export}`.slice(0, 100)
    : `//${place.server}/${place.share}`.slice(0, 100);
}
