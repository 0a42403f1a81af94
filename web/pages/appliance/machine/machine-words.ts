/** How the machine's states read. */
import type { HostState, UnlockWay } from '../../../api/host.ts';

export const WAY_KINDS: Record<UnlockWay['kind'], string> = {
  passphrase: 'Passphrase',
  'recovery-key': 'Recovery key',
  tpm2: 'TPM',
  'kms-hook': 'Key service',
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
