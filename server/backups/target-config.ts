/**
 * From a target's row to how it is reached. Passwords and private keys lie sealed in the database, are opened where a connection
 * is made, and go from there to worker threads in memory and to child processes over their pipes; never into arguments, the
 * environment, a reply or a log.
 */
import type { FieldContext, FieldSealer, KeyClient } from '../keys/index.ts';
import { mayReachOwnMachine } from '../lib/config.ts';
import type { Database } from '../lib/db.ts';
import type { S3AccessKey, S3Config, SftpConfig, SftpHostKey, SftpSignIn, TargetConfig } from './engine.ts';
import { findSignIn, type SignInRow, type TargetRow } from './queries.ts';
import { findLock } from './lock-days.ts';
import { paceFor, type Sender } from './target-pace.ts';
import { s3PlaceOf } from './targets/s3/failures.ts';
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

/** What is kept in `settings` of an S3 target. */
export interface S3Settings extends Omit<S3Config, 'kind' | 'signIn' | 'ownMachine' | 'pace'> {
  /** Signs in with what the role of the machine lends. */
  role?: boolean;
  /** Undefined after a recovery from a place that this appliance did not know, and with a role. */
  signInId?: string;
}

export interface TargetConfigDeps {
  db: Database;
  sealer: Pick<FieldSealer, 'open'>;
}

type PlacedRow = Pick<TargetRow, 'kind' | 'settings'>;

/** @throws HoldfastError as the sealer does, such as when the keys of this appliance are disabled. */
export async function openTargetConfig(
  deps: TargetConfigDeps,
  row: PlacedRow & Pick<TargetRow, 'id' | 'pace'>,
  sender: Sender = 'run',
): Promise<TargetConfig> {
  const config = await openPlace(deps, row);
  const pace = await paceFor(deps.db, row, sender);
  return pace === undefined ? config : { ...config, pace };
}

async function openPlace(
  deps: TargetConfigDeps,
  row: PlacedRow & Pick<TargetRow, 'id'>,
): Promise<TargetConfig> {
  if (row.kind === 'directory') return directoryConfigOf(row);
  if (row.kind === 's3') return openS3Config(deps, row);
  const { signInId, ...place } = sftpSettingsOf(row);
  const kept = signInId === undefined ? undefined : await findSignIn(deps.db, signInId);
  const config: SftpConfig = { kind: 'sftp', ...place, ...reachOfAppliance() };
  return kept === undefined ? config : { ...config, signIn: await openSignIn(deps, kept) };
}

/** Where the appliance may connect to, whoever asked for it. */
export function reachOfAppliance(): { ownMachine: boolean } {
  return { ownMachine: mayReachOwnMachine() };
}

async function openS3Config(
  deps: TargetConfigDeps,
  row: PlacedRow & Pick<TargetRow, 'id'>,
): Promise<S3Config> {
  const { role, signInId, ...place } = s3SettingsOf(row);
  const lock = await findLock(deps.db, row);
  const locked = lock === undefined ? {} : { lock };
  const config: S3Config = { kind: 's3', ...place, ...locked, ...reachOfAppliance() };
  if (role === true) return { ...config, signIn: { kind: 'role' } };
  const kept = signInId === undefined ? undefined : await findSignIn(deps.db, signInId);
  return kept === undefined ? config : { ...config, signIn: await openAccessKey(deps, kept) };
}

export function directoryConfigOf(row: PlacedRow): { kind: 'directory'; path: string } {
  return { kind: 'directory', path: (row.settings as { path: string }).path };
}

export function sftpSettingsOf(row: PlacedRow): SftpSettings {
  return row.settings as unknown as SftpSettings;
}

export function s3SettingsOf(row: PlacedRow): S3Settings {
  return row.settings as unknown as S3Settings;
}

/** For people: a path, or `sftp://user@host/path`, or `s3://bucket/prefix?…`. */
export function locationOf(row: PlacedRow): string {
  if (row.kind === 'directory') return directoryConfigOf(row).path;
  return row.kind === 's3' ? s3PlaceOf(s3SettingsOf(row)) : placeOf(sftpSettingsOf(row));
}

/** As `locationOf`; without secrets. */
export function describePlace(config: TargetConfig): string {
  if (config.kind === 'directory') return config.path;
  return config.kind === 's3' ? s3PlaceOf(config) : placeOf(config);
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
  const secret = await openSecret(deps, row, maker);
  return row.kind === 'password'
    ? { kind: 'password', password: secret }
    : { kind: 'private-key', privateKey: secret };
}

async function openSecret(
  deps: Pick<TargetConfigDeps, 'sealer'>,
  row: SignInRow,
  maker?: string,
): Promise<string> {
  const [opened] = await deps.sealer.open([
    { keyId: row.key_id, purpose: 'secrets', context: secretField(row.id, maker), sealed: row.secret_sealed },
  ]);
  return opened?.toString('utf8') ?? '';
}

/** An access key: its id lies in the clear, the secret and what may come with it sealed. */
async function openAccessKey(deps: Pick<TargetConfigDeps, 'sealer'>, row: SignInRow): Promise<S3AccessKey> {
  const { secretAccessKey, sessionToken } = JSON.parse(await openSecret(deps, row)) as S3AccessKey;
  const session = sessionToken === undefined ? {} : { sessionToken };
  return { kind: 'access-key', accessKeyId: row.public_key ?? '', secretAccessKey, ...session };
}

/** @returns the columns that keep it. */
export async function sealSignIn(
  deps: { keys: Pick<KeyClient, 'applianceKey'>; sealer: Pick<FieldSealer, 'seal'> },
  id: string,
  signIn: SftpSignIn | S3AccessKey,
  maker?: string,
): Promise<Pick<SignInRow, 'id' | 'kind' | 'secret_sealed' | 'key_id'>> {
  const { id: keyId } = await deps.keys.applianceKey();
  const value = secretOf(signIn);
  const context = secretField(id, maker);
  const [sealed] = await deps.sealer.seal([{ keyId, purpose: 'secrets', context, value }]);
  return { id, kind: signIn.kind, secret_sealed: sealed ?? Buffer.alloc(0), key_id: keyId };
}

function secretOf(signIn: SftpSignIn | S3AccessKey): string {
  if (signIn.kind === 'password') return signIn.password;
  if (signIn.kind === 'private-key') return signIn.privateKey;
  const { secretAccessKey, sessionToken } = signIn;
  return JSON.stringify({ secretAccessKey, sessionToken });
}
