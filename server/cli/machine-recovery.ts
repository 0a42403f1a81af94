/**
 * `holdfast recover` on the machine image: makes room on the blank machine, recovers into its data folder, gives the volume the
 * recovery key of the kit and a way for every day, and starts the appliance. Needs root, and no running server.
 */
import type { HostClient, NewWay } from '../appliance/index.ts';
import type { RecoveryReport } from '../backups/index.ts';
import type { RecoveryKit } from '../keys/index.ts';
import { accountName } from '../lib/config.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import { makeVolumeRecoveryKey } from '../lib/volume-recovery-key.ts';
import type { ShareAnswers } from './answer-file.ts';
import { mountShare } from './mount-share.ts';

/** How the volume is opened every day. */
export type DailyWay = Exclude<NewWay, { kind: 'recovery-key' }>;

export interface MachineRecovery {
  report: RecoveryReport;
  /** The volume's recovery key, where the kit had none: it must be kept with the kit. Secret. */
  newVolumeKey: string | undefined;
}

/** Deriving keys of the new ways takes a slow machine its time. */
const CLAIM_TIMEOUT_MS = 10 * 60_000;
const TELL_EVERY_MS = 1_000;

/** How far the recovery is, for whoever looks at the page or the console. */
export interface Told {
  step?: string;
  bytesDone?: number;
  bytesTotal?: number;
  filesDone?: number;
}

/**
 * @param parts.recover fills the data folder, and tells how far it is; what it throws ends the recovery, and the machine is blank again.
 * @throws HoldfastError `wrong_state` when this machine has an owner.
 */
export async function recoverMachine(
  host: HostClient,
  parts: { kit: RecoveryKit; daily: DailyWay; recover(tell: Tell): Promise<RecoveryReport> },
): Promise<MachineRecovery> {
  return onStage(host, '/recovery', async (tell) => {
    const report = await parts.recover(tell);
    const newVolumeKey = parts.kit.volumeRecoveryKey === null ? makeVolumeRecoveryKey() : undefined;
    tell({ step: 'Giving the data volume its keys' });
    await claim(host, {
      actor: consoleActor(),
      recoveryKey: newVolumeKey ?? parts.kit.volumeRecoveryKey,
      daily: parts.daily,
    });
    return { report, newVolumeKey };
  });
}

/**
 * As `recoverMachine`, for the appliance that this machine has: it is recovered beside its live data, and they change places.
 *
 * @param recover what it throws leaves everything as it was.
 * @throws HoldfastError `wrong_state` when nobody asked hostd for it.
 */
export function setMachineBack(
  host: HostClient,
  recover: (tell: Tell) => Promise<RecoveryReport>,
): Promise<RecoveryReport> {
  return onStage(host, '/set-back', recover);
}

export type Tell = (told: Told) => void;

/** @param verbs of hostd, where the services end and start again: whatever comes of the act, they are told to start. */
async function onStage<T>(host: HostClient, verbs: string, act: (tell: Tell) => Promise<T>): Promise<T> {
  const actor = consoleActor();
  await host.send('POST', `${verbs}/begin`, { actor }, CLAIM_TIMEOUT_MS);
  const teller = tellHost(host);
  try {
    const done = await act(teller.tell);
    await teller.told();
    await host.send('POST', `${verbs}/end`, { actor }, CLAIM_TIMEOUT_MS);
    return done;
  } catch (error) {
    await teller.told();
    const problem = { message: messageOf(error), hint: hintOf(error) };
    await host.send('POST', `${verbs}/end`, { actor, problem }, CLAIM_TIMEOUT_MS).catch(() => undefined);
    throw error;
  }
}

/** In order, and bytes at most once a second; that nobody can be told stops nothing. */
function tellHost(host: HostClient): { tell: Tell; told(): Promise<void> } {
  let queue: Promise<unknown> = Promise.resolve();
  let waiting: Told | undefined;
  const send = async (told: Told) => {
    await host.send('POST', '/recovery/progress', told).catch(() => undefined);
  };
  return {
    tell: (told) => {
      if (told.step !== undefined) {
        waiting = undefined;
        queue = queue.then(() => send(told));
        return;
      }
      const first = waiting === undefined;
      waiting = told;
      if (!first) return;
      queue = queue.then(async () => {
        await new Promise((resolve) => setTimeout(resolve, TELL_EVERY_MS));
        if (waiting !== undefined) await send(waiting);
        waiting = undefined;
      });
    },
    told: async () => {
      await queue;
    },
  };
}

function hintOf(error: unknown): string | null {
  return error instanceof HoldfastError ? (error.hint ?? null) : null;
}

/** Mounts the share that the target lies on; the recovered appliance goes on with the target there. @returns its folder. */
export async function mountTargetShare(host: HostClient, share: ShareAnswers): Promise<string> {
  const { path } = await mountShare(share, {
    list: () => host.send('POST', '/shares/mount', {}, CLAIM_TIMEOUT_MS),
    add: (wanted) => host.send('POST', '/shares', { actor: consoleActor(), ...wanted }, CLAIM_TIMEOUT_MS),
  });
  return path;
}

function consoleActor() {
  return { kind: 'console' as const, label: accountName().slice(0, 64) };
}

async function claim(host: HostClient, request: object): Promise<void> {
  try {
    await host.send('POST', '/claim-volume', request, CLAIM_TIMEOUT_MS);
  } catch (error) {
    throw new HoldfastError(
      'unavailable',
      `The data was recovered, but its volume could not be given its keys: ${messageOf(error)}`,
      {
        hint: 'Recover again with another way for every day: a passphrase always works.',
        cause: error,
      },
    );
  }
}
