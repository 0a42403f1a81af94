/**
 * `holdfast recover` on the machine image: makes room on the blank machine, recovers into its data folder, gives the volume the
 * recovery key of the kit and a way for every day, and starts the appliance. Needs root, and no running server.
 */
import type { HostClient } from '../appliance/index.ts';
import type { RecoveryReport } from '../backups/index.ts';
import type { RecoveryKit } from '../keys/index.ts';
import { accountName } from '../lib/config.ts';
import { HoldfastError } from '../lib/errors.ts';
import { makeVolumeRecoveryKey } from '../lib/volume-recovery-key.ts';
import type { ShareAnswers } from './answer-file.ts';
import { mountShare } from './mount-share.ts';

/** How the volume is opened every day. */
export type DailyWay =
  { kind: 'passphrase'; label: string; secret: string } | { kind: 'tpm2' | 'kms-hook'; label: string };

export interface MachineRecovery {
  report: RecoveryReport;
  /** The volume's recovery key, where the kit had none: it must be kept with the kit. Secret. */
  newVolumeKey: string | undefined;
}

/** Deriving keys of the new ways takes a slow machine its time. */
const CLAIM_TIMEOUT_MS = 10 * 60_000;

/**
 * @param recover fills the data folder; what it throws ends the recovery, and the machine is blank again.
 * @throws HoldfastError `wrong_state` when this machine has an owner.
 */
export async function recoverMachine(
  host: HostClient,
  parts: { kit: RecoveryKit; daily: DailyWay; recover(): Promise<RecoveryReport> },
): Promise<MachineRecovery> {
  const actor = consoleActor();
  await host.send('POST', '/recovery/begin', { actor }, CLAIM_TIMEOUT_MS);
  let report: RecoveryReport;
  try {
    report = await parts.recover();
  } catch (error) {
    await host.send('POST', '/recovery/end', { actor }).catch(() => undefined);
    throw error;
  }
  const newVolumeKey = parts.kit.volumeRecoveryKey === null ? makeVolumeRecoveryKey() : undefined;
  await claim(host, { actor, recoveryKey: newVolumeKey ?? parts.kit.volumeRecoveryKey, daily: parts.daily });
  await host.send('POST', '/recovery/end', { actor }, CLAIM_TIMEOUT_MS);
  return { report, newVolumeKey };
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
      'The data is recovered, but its volume could not be given its keys',
      {
        hint: 'Do not restart this machine: the volume would be emptied. Run the command again with another daily way, for example --daily passphrase.',
        cause: error,
      },
    );
  }
}
