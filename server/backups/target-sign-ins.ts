/**
 * How the appliance signs in to SFTP targets, and which host key it believes. Secrets come in and never go out; a key that was made
 * here shows its public half only.
 */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../audit/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { SftpConfig, SftpSignIn } from './engine.ts';
import type { TargetDeps } from './manage-targets.ts';
import {
  deleteUnusedSignIns,
  findSignIn,
  getTarget,
  insertSignIn,
  updateTarget,
  type SignInRow,
  type TargetRow,
} from './queries.ts';
import type { MadeKey, TargetSignIn } from './schema.ts';
import { openSignIn, sealSignIn, sftpSettingsOf, type SftpSettings } from './target-config.ts';
import { openTarget } from './targets/open-target.ts';
import { sameFingerprint } from './targets/sftp/host-key.ts';
import { askHostKey, makeKeyPair, readPrivateKey } from './targets/sftp/lazily.ts';

/** A key that was made and not used goes after this long. */
const UNUSED_MS = 7 * 86_400_000;

/** Makes an Ed25519 key pair, keeps the private half sealed, and shows the other. */
export async function makeTargetKey(deps: TargetDeps, actor: Actor): Promise<MadeKey> {
  const { privateKey, publicKey } = await makeKeyPair();
  const id = randomUUID();
  const sealed = await sealSignIn(deps, id, { kind: 'private-key', privateKey });
  const now = deps.clock.now();
  await writeTransaction(deps.db, async (tx) => {
    await deleteUnusedSignIns(tx, new Date(now.getTime() - UNUSED_MS));
    await insertSignIn(tx, { ...sealed, public_key: publicKey, created_at: now });
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.target-key.made',
      objectType: 'target-sign-in',
      objectId: id,
      detail: { publicKey },
    });
  });
  return { id, publicKey };
}

/** For a trial. @throws HoldfastError `invalid_input` for a key that cannot be read, `not_found` for one that was not made here */
export async function takeSignIn(
  deps: Pick<TargetDeps, 'db' | 'sealer'>,
  given: TargetSignIn,
): Promise<{ signIn: SftpSignIn; publicKey: string | null }> {
  if (given.kind === 'password') return { signIn: given, publicKey: null };
  if (given.kind === 'private-key') {
    const { privateKey, publicKey } = await readPrivateKey(given.privateKey);
    return { signIn: { kind: 'private-key', privateKey }, publicKey };
  }
  const kept = await findSignIn(deps.db, given.keyId);
  if (kept?.kind !== 'private-key') throw new HoldfastError('not_found', 'There is no such key');
  return { signIn: await openSignIn(deps, kept), publicKey: kept.public_key };
}

/** @returns which one it is from now on, and the row to insert unless it is there already. */
export async function keepSignIn(
  deps: TargetDeps,
  given: TargetSignIn,
): Promise<{ id: string; row?: SignInRow }> {
  if (given.kind === 'made-key') return { id: given.keyId };
  const { signIn, publicKey } = await takeSignIn(deps, given);
  const sealed = await sealSignIn(deps, randomUUID(), signIn);
  return { id: sealed.id, row: { ...sealed, public_key: publicKey, created_at: deps.clock.now() } };
}

/**
 * Another password or key for a target in use, after it opened the target.
 *
 * @throws HoldfastError as opening does: `unauthenticated`, `wrong_key` for another host key, `unavailable`.
 */
export async function changeSignIn(
  deps: TargetDeps,
  actor: Actor,
  id: string,
  given: TargetSignIn,
): Promise<TargetRow> {
  const settings = await requireSftp(deps, id);
  const { signIn } = await takeSignIn(deps, given);
  await tryOpening({ kind: 'sftp', ...settings, signIn });
  const kept = await keepSignIn(deps, given);
  return writeTransaction(deps.db, async (tx) => {
    if (kept.row !== undefined) await insertSignIn(tx, kept.row);
    const changed = await updateTarget(tx, id, { settings: { ...settings, signInId: kept.id } });
    await deleteUnusedSignIns(tx, deps.clock.now());
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.target.sign-in-changed',
      objectType: 'target',
      objectId: id,
      detail: { kind: given.kind },
    });
    return changed;
  });
}

/**
 * Believes another host key from now on: the one that a person compared, and that the server shows now.
 *
 * @throws HoldfastError `conflict` when the server shows a third one, `unavailable` when it does not answer.
 */
export async function acceptHostKey(
  deps: TargetDeps,
  actor: Actor,
  id: string,
  fingerprint: string,
): Promise<TargetRow> {
  const settings = await requireSftp(deps, id);
  const { last_error: problem } = await getTarget(deps.db, id);
  const about = (problem as { code?: string } | null)?.code;
  const shown = await askHostKey(settings);
  if (!sameFingerprint(shown.fingerprint, fingerprint)) {
    throw new HoldfastError('conflict', `${settings.host} shows ${shown.fingerprint} and not this key`, {
      hint: 'Compare it again with whoever runs the server.',
    });
  }
  return writeTransaction(deps.db, async (tx) => {
    const changed = await updateTarget(tx, id, {
      settings: { ...settings, hostKey: shown },
      ...(about === 'wrong_key' ? { lastError: null } : {}),
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.target.host-key-accepted',
      objectType: 'target',
      objectId: id,
      detail: { before: settings.hostKey.fingerprint, after: shown.fingerprint },
    });
    return changed;
  });
}

async function requireSftp(deps: Pick<TargetDeps, 'db'>, id: string): Promise<SftpSettings> {
  const row = await getTarget(deps.db, id);
  if (row.kind === 'sftp' && row.state === 'active') return sftpSettingsOf(row);
  throw new HoldfastError('wrong_state', 'This is no SFTP target in use');
}

async function tryOpening(config: SftpConfig): Promise<void> {
  await (await openTarget(config)).close();
}
