/** Where the secrets of ways come from, and how a way is made of one. */
import { randomBytes, randomUUID } from 'node:crypto';
import { HoldfastError } from '../../../lib/errors.ts';
import { parseVolumeRecoveryKey } from '../../../lib/volume-recovery-key.ts';
import type { HostDeps } from '../host-app.ts';
import { readPlacedRootKey, wrapRootKey } from './root-key.ts';
import type { NewWay, TpmPcrs } from '../schema.ts';
import { addKeyslot, findKeyslot, killKeyslot, opensKeyslot, readHeader } from '../volume/luks.ts';
import type { VolumeNote } from '../volume/note.ts';
import { secretKindOf, type StoredWay, type WaysFile } from './file.ts';
import { askHook } from './hook.ts';
import { DEFAULT_PCRS, type SecretSealer } from './tpm.ts';

export type WaysDeps = Pick<HostDeps, 'places' | 'clock' | 'journal'> & { tpm: SecretSealer };

/** The secret of a way: from the machine itself where it can have it, else as given. */
export async function findWaySecret(
  deps: Pick<WaysDeps, 'places' | 'tpm'>,
  way: StoredWay,
  given: string | undefined,
): Promise<string> {
  if (way.kind === 'tpm2') return deps.tpm.unseal(way.sealedSecret ?? '');
  if (way.kind === 'kms-hook') return askHook(deps.places);
  if (given === undefined) throw new HoldfastError('invalid_input', 'Give the secret of this way to test it');
  return way.kind === 'recovery-key' ? (parseVolumeRecoveryKey(given) ?? given) : given;
}

/** Adds a slot and shows that it opens. */
export async function makeWay(
  deps: WaysDeps,
  note: VolumeNote,
  wanted: NewWay,
  existing: string,
  keyslot: number,
  { replace }: { replace: boolean },
): Promise<StoredWay> {
  const made = await makeSecret(deps, wanted);
  if (replace) {
    const header = await readHeader(note.device);
    if (header?.keyslots.includes(keyslot) === true) await killKeyslot(note.device, keyslot);
  }
  await addKeyslot(note.device, existing, made.secret, keyslot, secretKindOf(wanted.kind));
  if (!(await opensKeyslot(note.device, made.secret, keyslot))) {
    throw new HoldfastError('integrity_failure', 'The new key slot does not open; it is not kept', {
      hint: 'Look at the data disk: it may be failing.',
    });
  }
  const id = randomUUID();
  const root = await readPlacedRootKey(deps.places);
  const wrapped = await wrapRootKey(root, made.secret, { id, kind: wanted.kind, volumeUuid: note.uuid });
  root.fill(0);
  const now = deps.clock.now().toISOString();
  const { sealed } = made;
  return {
    id,
    kind: wanted.kind,
    label: wanted.label,
    keyslot,
    ...wrapped,
    ...(sealed === undefined ? {} : { sealedSecret: sealed, pcrs: pcrsOf(wanted) }),
    createdAt: now,
    lastUsedAt: null,
    lastTestedAt: now,
  };
}

function pcrsOf(wanted: NewWay): TpmPcrs {
  return (wanted.kind === 'tpm2' ? wanted.pcrs : undefined) ?? DEFAULT_PCRS;
}

async function makeSecret(
  deps: Pick<WaysDeps, 'places' | 'tpm'>,
  wanted: NewWay,
): Promise<{ secret: string; sealed?: string }> {
  if (wanted.kind === 'passphrase') return { secret: wanted.secret };
  if (wanted.kind === 'kms-hook') return { secret: await askHook(deps.places) };
  if (wanted.kind === 'tpm2') {
    const secret = randomBytes(32).toString('base64');
    const sealed = await deps.tpm.seal(secret, pcrsOf(wanted));
    if ((await deps.tpm.unseal(sealed)) === secret) return { secret, sealed };
    throw new HoldfastError('integrity_failure', 'The TPM gave back something else than it was given');
  }
  const key = parseVolumeRecoveryKey(wanted.secret);
  if (key !== undefined) return { secret: key };
  throw new HoldfastError('invalid_input', 'This is not a recovery key of a volume', {
    hint: 'It has 52 letters and digits in groups of four.',
  });
}

/** A secret that opens the volume now: the given one, or what TPM or hook of this machine give out. */
export async function findExistingSecret(
  deps: WaysDeps,
  file: WaysFile,
  note: VolumeNote,
  given: string | undefined,
): Promise<string> {
  if (given !== undefined) {
    for (const secret of secretCandidates(given))
      if ((await findKeyslot(note.device, secret)) !== undefined) return secret;
    throw new HoldfastError('wrong_key', 'The given key does not open the data volume', {
      hint: 'Give the passphrase or the recovery key of a way that this volume has.',
    });
  }
  for (const way of file.ways.filter(({ kind }) => kind === 'tpm2' || kind === 'kms-hook')) {
    const secret = await findWaySecret(deps, way, undefined).catch(() => undefined);
    if (secret !== undefined && (await opensKeyslot(note.device, secret, way.keyslot))) return secret;
  }
  throw new HoldfastError('invalid_input', 'Give the passphrase or the recovery key of a way that works', {
    hint: 'A new way needs one that opens the volume.',
  });
}

/** What was typed may be a recovery key in any form, or a passphrase that only looks like one. */
export function secretCandidates(typed: string): string[] {
  const key = parseVolumeRecoveryKey(typed);
  return key === undefined || key === typed ? [typed] : [key, typed];
}
