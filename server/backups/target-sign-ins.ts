/**
 * How the appliance signs in to SFTP targets, and which host key it believes. Secrets come in and never go out; a key that was made
 * here shows its public half only, and until a target has it, only who made it can use it.
 */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../audit/index.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../lib/db.ts';
import type { Clock } from '../lib/clock.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { SftpConfig, SftpSignIn } from './engine.ts';
import type { TargetDeps } from './manage-targets.ts';
import {
  deleteSignIn,
  deleteUnusedSignIns,
  findSignIn,
  getTarget,
  insertSignIn,
  isSignInUsed,
  lockTarget,
  updateSignInSecret,
  updateTarget,
  type SignInRow,
  type TargetRow,
} from './queries.ts';
import type { MadeKey, TargetSignIn } from './schema.ts';
import {
  openSignIn,
  reachOfAppliance,
  sealSignIn,
  sftpSettingsOf,
  type SftpSettings,
} from './target-config.ts';
import { openTarget } from './targets/open-target.ts';
import { sameFingerprint } from './targets/sftp/host-key.ts';
import { askHostKey, makeKeyPair, readPrivateKey } from './targets/sftp/lazily.ts';
import { takeTrialTurn } from './trial-turns.ts';

/** A key that was made and not used goes after this long, and is of no use any more. */
const UNUSED_MS = 7 * 86_400_000;

/** Makes an Ed25519 key pair, keeps the private half sealed for who asked, and shows the other. */
export async function makeTargetKey(deps: TargetDeps, actor: Actor): Promise<MadeKey> {
  takeTrialTurn(deps, actor);
  const { privateKey, publicKey } = await makeKeyPair();
  const id = randomUUID();
  const sealed = await sealSignIn(deps, id, { kind: 'private-key', privateKey }, makerOf(actor));
  await writeTransaction(deps.db, async (tx) => {
    await insertSignIn(tx, { ...sealed, public_key: publicKey, created_at: deps.clock.now() });
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.target-key.made',
      objectType: 'target-sign-in',
      objectId: id,
      detail: { publicKey },
    });
  });
  return { id, publicKey };
}

/** Keys that nobody used in a week, and what is left of targets that were retired. */
export async function expireSignIns(deps: { db: Database; clock: Clock }): Promise<void> {
  const before = new Date(deps.clock.now().getTime() - UNUSED_MS);
  await writeTransaction(deps.db, (tx) => deleteUnusedSignIns(tx, before));
}

/** Whoever sits at the machine is one. */
function makerOf({ kind, id }: Actor): string {
  return kind === 'user' && id !== undefined ? id : kind;
}

interface TakenSignIn {
  signIn: SftpSignIn;
  publicKey: string | null;
  /** Kept already: a key that was made here. */
  keptId?: string;
}

/**
 * For a trial.
 *
 * @param presentId what the target in question signs in by now.
 * @throws HoldfastError `invalid_input` for a key that cannot be read; `not_found` for one that was not made here, was made by somebody
 *   else, is too old, or belongs to another target.
 */
export async function takeSignIn(
  deps: Pick<TargetDeps, 'db' | 'clock' | 'sealer'>,
  actor: Actor,
  given: TargetSignIn,
  presentId?: string,
): Promise<TakenSignIn> {
  if (given.kind === 'password') return { signIn: given, publicKey: null };
  if (given.kind === 'private-key') {
    const { privateKey, publicKey } = await readPrivateKey(given.privateKey);
    return { signIn: { kind: 'private-key', privateKey }, publicKey };
  }
  const kept = await findSignIn(deps.db, given.keyId);
  if (kept?.kind !== 'private-key') throw noSuchKey();
  const signIn = kept.id === presentId ? await openSignIn(deps, kept) : await openFreshKey(deps, actor, kept);
  return { signIn, publicKey: kept.public_key, keptId: kept.id };
}

async function openFreshKey(
  deps: Pick<TargetDeps, 'db' | 'clock' | 'sealer'>,
  actor: Actor,
  kept: SignInRow,
): Promise<SftpSignIn> {
  const ageMs = deps.clock.now().getTime() - kept.created_at.getTime();
  if (ageMs > UNUSED_MS || (await isSignInUsed(deps.db, kept.id))) throw noSuchKey();
  try {
    return await openSignIn(deps, kept, makerOf(actor));
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'integrity_failure') throw noSuchKey();
    throw error;
  }
}

function noSuchKey(): HoldfastError {
  return new HoldfastError('not_found', 'There is no such key', {
    hint: 'Make another one: a key is for who made it, for a week, and for one target.',
  });
}

/** @returns which one it is from now on, and how it is kept in the transaction that says so. */
export async function sealForTarget(
  deps: TargetDeps,
  taken: TakenSignIn,
): Promise<{ id: string; keep(tx: WriteTransaction): Promise<void> }> {
  const { signIn, publicKey, keptId } = taken;
  const sealed = await sealSignIn(deps, keptId ?? randomUUID(), signIn);
  const row = { ...sealed, public_key: publicKey, created_at: deps.clock.now() };
  return {
    id: sealed.id,
    keep: (tx) => (keptId === undefined ? insertSignIn(tx, row) : updateSignInSecret(tx, sealed)),
  };
}

/**
 * Another password or key for a target in use, after it opened the target.
 *
 * @throws HoldfastError as opening does: `unauthenticated`, `wrong_key` for another host key, `unavailable`; `conflict` when the target
 *   was changed meanwhile.
 */
export async function changeSignIn(
  deps: TargetDeps,
  actor: Actor,
  id: string,
  given: TargetSignIn,
): Promise<TargetRow> {
  const before = requireSftp(await getTarget(deps.db, id));
  const { signInId: presentId, ...place } = before;
  takeTrialTurn(deps, actor);
  const taken = await takeSignIn(deps, actor, given, presentId);
  await tryOpening({ kind: 'sftp', ...place, ...reachOfAppliance(), signIn: taken.signIn });
  const sealed = await sealForTarget(deps, taken);
  return writeTransaction(deps.db, async (tx) => {
    // What was tried must be what it is: another host key may be another server, which has not seen this sign-in.
    const now = requireSftp(await lockTarget(tx, id));
    requireUnchanged(now, before);
    if (now.signInId !== presentId) throw changedMeanwhile();
    await sealed.keep(tx);
    const changed = await updateTarget(tx, id, { settings: { signInId: sealed.id } });
    if (presentId !== undefined && presentId !== sealed.id) await deleteSignIn(tx, presentId);
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
 * @throws HoldfastError `conflict` when the server shows a third one, or the target was changed meanwhile; `unavailable` when it does
 *   not answer.
 */
export async function acceptHostKey(
  deps: TargetDeps,
  actor: Actor,
  id: string,
  fingerprint: string,
): Promise<TargetRow> {
  const settings = requireSftp(await getTarget(deps.db, id));
  takeTrialTurn(deps, actor);
  // As the trial asked, which showed it: a server with keys of several kinds shows the one that it is asked for.
  const shown = await askHostKey({ ...settings, ...reachOfAppliance() }, settings.hostKey.type);
  if (!sameFingerprint(shown.fingerprint, fingerprint)) {
    throw new HoldfastError('conflict', `${settings.host} shows ${shown.fingerprint} and not this key`, {
      hint: 'Compare it again with whoever runs the server.',
    });
  }
  return writeTransaction(deps.db, async (tx) => {
    const row = await lockTarget(tx, id);
    requireUnchanged(requireSftp(row), settings);
    const about = (row.last_error as { code?: string } | null)?.code;
    const changed = await updateTarget(tx, id, {
      settings: { hostKey: shown },
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

function requireSftp(row: TargetRow): SftpSettings {
  if (row.kind === 'sftp' && row.state === 'active') return sftpSettingsOf(row);
  throw new HoldfastError('wrong_state', 'This is no SFTP target in use');
}

function requireUnchanged(now: SftpSettings, before: SftpSettings): void {
  const facts = ({ host, port, username, path, hostKey }: SftpSettings) =>
    JSON.stringify([host, port, username, path, hostKey.fingerprint]);
  if (facts(now) !== facts(before)) throw changedMeanwhile();
}

export function changedMeanwhile(): HoldfastError {
  return new HoldfastError('conflict', 'The target was changed by somebody else meanwhile', {
    hint: 'Look at it again, then repeat this if it is still wanted.',
  });
}

async function tryOpening(config: SftpConfig): Promise<void> {
  await (await openTarget(config)).close();
}
