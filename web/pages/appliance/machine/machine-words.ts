/** How the machine's states read. */
import type { HostState, TpmPcrs, UnlockWay } from '../../../api/host.ts';

export const WAY_KINDS: Record<UnlockWay['kind'], string> = {
  passphrase: 'Passphrase',
  'recovery-key': 'Recovery key',
  tpm2: 'TPM',
  'kms-hook': 'Key service',
};

/** What a TPM can be told to look at before it gives out the key. */
export const TPM_BINDINGS: Record<TpmPcrs, { label: string; hint: string }> = {
  '7': {
    label: 'Secure Boot and its keys (PCR 7)',
    hint: 'Updates of firmware and appliance do not change it.',
  },
  '0+2+7': {
    label: 'Also the firmware and its drivers (PCR 0, 2, 7)',
    hint: 'After an update of the firmware somebody unlocks another way, removes this one and adds it anew.',
  },
  '0+2+4+7': {
    label: 'Also the boot loader (PCR 0, 2, 4, 7)',
    hint: 'After an update of the firmware or the boot loader somebody unlocks another way, removes this one and adds it anew.',
  },
};

export const REGION_KNOWN_BY: Record<NonNullable<HostState['region']['knownBy']>, string> = {
  metadata: 'The cloud that it runs in says so',
  image: 'The image was built for it',
  declared: 'Somebody has typed it',
};

export const DISK_USES: Record<HostState['disks'][number]['usedFor'], string> = {
  system: 'System',
  data: 'Data volume',
  other: 'Not used by Holdfast',
};

/** Whether the machine opens its data volume without anybody. */
export function opensByItself(ways: readonly UnlockWay[]): boolean {
  return ways.some((way) => way.kind === 'tpm2' || way.kind === 'kms-hook');
}
