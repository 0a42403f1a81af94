/** What may be done with a way that opens the data volume, and why not. The server's own rules are in `host/ways.ts`. */
import type { HostState, UnlockWay } from '../../../api/host.ts';

/** LUKS2 has 32 key slots. */
const MOST_WAYS = 32;
export const LEAST_PASSPHRASE = 12;

interface Here {
  host: HostState;
  owner: boolean;
}

const notOwner = 'Only the owner does this';
const unclaimed = 'The data volume has no owner yet: the first run gives it its ways';

export function whyNoNewWay({ host, owner }: Here): string | undefined {
  if (!owner) return notOwner;
  if (host.volume.state === 'none') return 'This machine has no encrypted data volume';
  if (host.volume.state === 'unclaimed') return unclaimed;
  if (host.ways.length >= MOST_WAYS) return 'The volume has no room for another: remove one first';
  return undefined;
}

export function whyNotRemove(way: UnlockWay, { host, owner }: Here): string | undefined {
  if (!owner) return notOwner;
  const left = host.ways.filter((one) => one.id !== way.id && !host.volume.lostWays.includes(one.id));
  if (!left.some((one) => one.kind === 'recovery-key'))
    return 'A recovery key must be left: add another one first';
  if (!left.some((one) => one.kind !== 'recovery-key'))
    return 'A way for every day must be left: add another one first';
  return undefined;
}

export function whyNotTest(way: UnlockWay, { host, owner }: Here): string | undefined {
  if (!owner) return notOwner;
  if (host.volume.lostWays.includes(way.id)) return 'Its key slot is gone from the disk: it opens nothing';
  if (way.kind === 'tpm2' && !host.tpm) return 'This machine has no TPM now';
  return undefined;
}

export function whyNotRename({ owner }: Here): string | undefined {
  return owner ? undefined : notOwner;
}

export function whyNotKind(kind: UnlockWay['kind'], host: HostState): string | undefined {
  if (kind !== 'tpm2') return undefined;
  if (!host.tpm) return 'This machine has no TPM 2.0';
  const there = host.ways.some((way) => way.kind === 'tpm2' && !host.volume.lostWays.includes(way.id));
  return there ? 'There is one already' : undefined;
}

/** What is wrong with a new passphrase that is typed twice. */
export function whyNotPassphrase(passphrase: string, again: string): string | undefined {
  if (passphrase.length < LEAST_PASSPHRASE)
    return `The passphrase needs at least ${LEAST_PASSPHRASE} characters`;
  return passphrase === again ? undefined : 'The two passphrases differ';
}
