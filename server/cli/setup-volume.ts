/** Set-up by file on the machine image: gives the data volume its recovery key, which goes into the kit, and its way for every day. */
import type { HostState, NewWay } from '../appliance/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { makeVolumeRecoveryKey } from '../lib/volume-recovery-key.ts';
import { readTpmPcrs } from './answer-file.ts';
import type { ControlClient } from './control-client.ts';
import { readSecretFile, readSecretFromEnvironment } from './secrets.ts';
import { tell, type SetupWork } from './setup-work.ts';

/** Refuses answers that the volume could not be given a way with, before anything is done. */
export async function checkVolumeAnswers(work: Pick<SetupWork, 'file' | 'client'>): Promise<void> {
  const machine = await readMachine(work.client);
  if (machine?.volume.state === 'unclaimed') await dailyWay(work, machine.tpm);
}

/** @returns null where Holdfast does not run on its own machine image. */
export async function makeVolumeKey(client: ControlClient): Promise<string | null> {
  return (await readMachine(client)) === undefined ? null : makeVolumeRecoveryKey();
}

/** Call it when the kit with the key is on the disk: from then on a restart does not empty the volume any more. */
export async function giveVolumeItsKey(work: SetupWork, kitId: string, recoveryKey: string): Promise<void> {
  const machine = await readMachine(work.client);
  const daily = await dailyWay(work, machine?.tpm === true);
  if (machine?.volume.state === 'unclaimed') {
    await work.client.send('POST', '/host/claim-volume', { recoveryKey, daily });
    return tell(work, 'data volume', 'done', daily.label);
  }
  // An earlier run claimed it with a kit that was never proven; this kit's key comes beside that one's.
  const way: NewWay = {
    kind: 'recovery-key',
    label: `Recovery kit ${kitId.slice(0, 8)}`,
    secret: recoveryKey,
  };
  const openedBy = daily.kind === 'passphrase' ? { openedBy: daily.secret } : {};
  await work.client.send('POST', '/host/ways', { way, ...openedBy });
  tell(work, 'data volume', 'already', 'the key of this kit was added');
}

async function dailyWay({ file }: Pick<SetupWork, 'file'>, tpm: boolean): Promise<NewWay> {
  const { volume = {} } = file;
  const { daily, passphraseFile, passphraseVariable } = volume;
  const kind = daily ?? ((passphraseFile ?? passphraseVariable) ? 'passphrase' : 'tpm2');
  const pcrs = readTpmPcrs(volume, kind);
  if (kind === 'kms-hook') return { kind, label: 'Unlock hook' };
  if (kind === 'tpm2') {
    if (tpm) return { kind, label: 'TPM of this machine', ...pcrs };
    throw new HoldfastError('invalid_input', 'This machine has no TPM to unlock it', {
      hint: 'Give volume.passphraseFile in the set-up file.',
    });
  }
  if (passphraseFile !== undefined)
    return { kind, label: 'Passphrase', secret: await readSecretFile(passphraseFile) };
  if (passphraseVariable !== undefined)
    return { kind, label: 'Passphrase', secret: readSecretFromEnvironment(passphraseVariable) };
  throw new HoldfastError('invalid_input', 'The set-up file gives no passphrase for the data volume', {
    hint: 'Give volume.passphraseFile or volume.passphraseVariable.',
  });
}

async function readMachine(client: ControlClient): Promise<HostState | undefined> {
  try {
    return await client.get<HostState>('/host');
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'wrong_state') return undefined;
    throw error;
  }
}
