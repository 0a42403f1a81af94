/**
 * From a target's row to how it is reached. Passwords and private keys lie sealed in the database, are opened where a connection
 * is made, and go from there to worker threads in memory and to child processes over their pipes; never into arguments, the
 * environment, a reply or a log.
 */
import type { FieldContext, FieldSealer, KeyClient } from '../keys/index.ts';
import { mayReachOwnMachine } from '../lib/config.ts';
import type { Database } from '../lib/db.ts';
import type { SftpConfig, SftpHostKey, SftpSignIn, TargetConfig } from './engine.ts';
import { findSignIn, type SignInRow, type TargetRow } from './queries.ts';
import { placeOf } from './targets/sftp/failures.ts';

/** What is kept in `settings` of an SFTP target. */
export interface SftpSettings {
  host: string;
  port: number;
  username: string;
  path: string;
  hostKey: SftpHostKey;
  /** Undefined after a recovery from a place that this appliance did not know. */
  signInId?: string;
}

export interface TargetConfigDeps {
  db: Database;
  sealer: Pick<FieldSealer, 'open'>;
}

type PlacedRow = Pick<TargetRow, 'kind' | 'settings'>;

/** @throws HoldfastError as the sealer does, such as when the keys of this appliance are disabled. */
export async function openTargetConfig(deps: TargetConfigDeps, row: PlacedRow): Promise<TargetConfig> {
  if (row.kind === 'directory') return directoryConfigOf(row);
  const { signInId, ...place } = sftpSettingsOf(row);
  const kept = signInId === undefined ? undefined : await findSignIn(deps.db, signInId);
  const config: SftpConfig = { kind: 'sftp', ...place, ...reachOfAppliance() };
  return kept === undefined ? config : { ...config, signIn: await openSignIn(deps, kept) };
}

/** Where the appliance may connect to, whoever asked for it. */
export function reachOfAppliance(): { ownMachine: boolean } {
  return { ownMachine: mayReachOwnMachine() };
}

export function directoryConfigOf(row: PlacedRow): { kind: 'directory'; path: string } {
  return { kind: 'directory', path: (row.settings as { path: string }).path };
}

export function sftpSettingsOf(row: PlacedRow): SftpSettings {
  return row.settings as unknown as SftpSettings;
}

/** For people: a path, or `sftp://user@host/path`. */
export function locationOf(row: PlacedRow): string {
  return row.kind === 'directory' ? directoryConfigOf(row).path : placeOf(sftpSettingsOf(row));
}

/** @param maker of a key that no target uses yet: only who made it can have it opened. */
function secretField(id: string, maker = ''): FieldContext {
  return { type: 'target-sign-in', workspaceId: '', subjectId: maker, objectId: id, version: '' };
}

/** The secret itself. @throws HoldfastError `integrity_failure` for a key that somebody else made */
export async function openSignIn(
  deps: Pick<TargetConfigDeps, 'sealer'>,
  row: SignInRow,
  maker?: string,
): Promise<SftpSignIn> {
  const [opened] = await deps.sealer.open([
    { keyId: row.key_id, purpose: 'secrets', context: secretField(row.id, maker), sealed: row.secret_sealed },
  ]);
  const secret = opened?.toString('utf8') ?? '';
  return row.kind === 'password'
    ? { kind: 'password', password: secret }
    : { kind: 'private-key', privateKey: secret };
}

/** @returns the columns that keep it. */
export async function sealSignIn(
  deps: { keys: Pick<KeyClient, 'applianceKey'>; sealer: Pick<FieldSealer, 'seal'> },
  id: string,
  signIn: SftpSignIn,
  maker?: string,
): Promise<Pick<SignInRow, 'id' | 'kind' | 'secret_sealed' | 'key_id'>> {
  const { id: keyId } = await deps.keys.applianceKey();
  const value = signIn.kind === 'password' ? signIn.password : signIn.privateKey;
  const context = secretField(id, maker);
  const [sealed] = await deps.sealer.seal([{ keyId, purpose: 'secrets', context, value }]);
  return { id, kind: signIn.kind, secret_sealed: sealed ?? Buffer.alloc(0), key_id: keyId };
}
