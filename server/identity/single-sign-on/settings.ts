/**
 * Which provider people sign in at. The client secret is write-only: it is never read out, and where it goes cannot be changed without
 * typing it again, so that nobody has it sent to a server of their own.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { checkShownName } from '../../lib/shown-name.ts';
import type { PeopleDeps } from '../people/people.ts';
import { nameTeams, noSuchTeam } from '../teams/teams.ts';
import { RETURN_PATH } from './attempts.ts';
import { SECRET_FIELD } from './provider.ts';
import {
  countLinks,
  deleteAllAttempts,
  deleteProvider,
  findProvider,
  lockProvider,
  saveProvider,
  type ProviderRow,
} from './queries.ts';
import type { GivenRole, SingleSignOnChange, SingleSignOnReply } from './schema.ts';

export const LOGOUT_PATH = '/api/v1/single-sign-on/back-channel-logout';

export async function readSettings(deps: Pick<PeopleDeps, 'db'>, origin: string): Promise<SingleSignOnReply> {
  const [row, linkedPeople] = [await findProvider(deps.db), await countLinks(deps.db)];
  return {
    settings: row === undefined ? null : toReply(row),
    onlySince: row?.only_since?.toISOString() ?? null,
    linkedPeople,
    redirectUri: `${origin}${RETURN_PATH}`,
    logoutUri: `${origin}${LOGOUT_PATH}`,
  };
}

/**
 * @throws HoldfastError `conflict` when they are others than those that were read; `invalid_input` for a certificate that is none, or without a secret where it is needed anew; `not_found` for a
 *   team; `wrong_state` for a change that would lock out everybody while single sign-on is the only way in.
 */
export async function changeSettings(
  deps: PeopleDeps,
  change: SingleSignOnChange,
  origin: string,
  actor: Actor,
): Promise<SingleSignOnReply> {
  const teamIds = [...new Set(change.teamGroups.map(({ teamId }) => teamId))];
  if ((await nameTeams(deps, teamIds)).size < teamIds.length) throw noSuchTeam();
  const checked = checkChange(change);
  const { id: keyId } = await deps.keys.applianceKey();
  const [sealed] =
    change.clientSecret === undefined
      ? []
      : await deps.sealer.seal([
          { keyId, purpose: 'secrets', context: SECRET_FIELD, value: change.clientSecret },
        ]);
  await writeTransaction(deps.db, async (tx) => {
    const before = await lockProvider(tx);
    if (change.version !== undefined && change.version !== (before?.version ?? ''))
      throw new HoldfastError('conflict', 'Somebody else changed these settings meanwhile', {
        hint: 'Load the page again: what you see is not what counts any more.',
      });
    refuseOtherWay(before, checked, sealed !== undefined);
    if (before?.only_since != null) refuseLockOut(before, checked);
    const secret = sealed ?? before?.client_secret_sealed;
    if (secret === undefined) throw new HoldfastError('invalid_input', 'The client secret is missing');
    await saveProvider(tx, { ...checked, client_secret_sealed: secret, changed_at: deps.clock.now() });
    // What was begun with the settings of before does not end with these.
    await deleteAllAttempts(tx);
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.single-sign-on.changed',
      objectType: 'setting',
      objectId: null,
      detail: {
        before: before === undefined ? null : auditedOf(before),
        after: auditedOf(checked),
        secretChanged: sealed !== undefined,
      },
    });
  });
  return readSettings(deps, origin);
}

/** @throws HoldfastError `not_found`; `wrong_state` while it is the only way in. */
export async function removeSettings(deps: Pick<PeopleDeps, 'db' | 'clock'>, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const before = await lockProvider(tx);
    if (before === undefined) throw new HoldfastError('not_found', 'Single sign-on is not set up');
    if (before.only_since !== null) throw onlyWay();
    await deleteProvider(tx);
    await deleteAllAttempts(tx);
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.single-sign-on.removed',
      objectType: 'setting',
      objectId: null,
      detail: { before: auditedOf(before) },
    });
  });
}

type CheckedRow = Omit<
  ProviderRow,
  'singleton' | 'client_secret_sealed' | 'only_since' | 'changed_at' | 'version'
>;

function checkChange(change: SingleSignOnChange): CheckedRow {
  const name = checkShownName(change.name);
  if (!URL.canParse(change.issuer) || new URL(change.issuer).username !== '')
    throw new HoldfastError('invalid_input', 'The issuer is no https address');
  const certificates = change.caCertificates?.trim() ?? '';
  if (change.groupsClaim === null && change.roleGroups.length + change.teamGroups.length > 0)
    throw new HoldfastError('invalid_input', 'Groups are mapped, and no claim is named that holds them', {
      hint: 'Many providers call it "groups".',
    });
  return {
    ...{ name, enabled: change.enabled, issuer: change.issuer, client_id: change.clientId },
    ca_certificates: certificates === '' ? null : checkCertificates(certificates),
    scopes: [...new Set(change.scopes)],
    groups_claim: change.groupsClaim,
    ...{ role_groups: change.roleGroups, team_groups: change.teamGroups, other_role: change.otherRole },
    makes_accounts: change.makesAccounts,
    ...{ strong_acr: [...new Set(change.strongAcr)], strong_amr: [...new Set(change.strongAmr)] },
    logout_ends_keys: change.logoutEndsKeys,
  };
}

function checkCertificates(pem: string): string {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  try {
    const read = found.map((one) => new X509Certificate(one));
    if (read.length > 0) return `${found.join('\n')}\n`;
  } catch (cause) {
    throw new HoldfastError('invalid_input', 'One of the certificates cannot be read', { cause });
  }
  throw new HoldfastError('invalid_input', 'There is no certificate in this text', {
    hint: 'It begins with -----BEGIN CERTIFICATE-----.',
  });
}

function refuseOtherWay(before: ProviderRow | undefined, after: CheckedRow, secretGiven: boolean): void {
  if (before === undefined || secretGiven) return;
  const same =
    before.issuer === after.issuer &&
    before.client_id === after.client_id &&
    (before.ca_certificates ?? '') === (after.ca_certificates ?? '');
  if (same) return;
  throw new HoldfastError(
    'invalid_input',
    'Give the client secret again: it would go to another place than before',
    {
      hint: 'The secret that is kept is only ever sent where it was meant for.',
    },
  );
}

function refuseLockOut(before: ProviderRow, after: CheckedRow): void {
  if (!after.enabled || before.issuer !== after.issuer) throw onlyWay();
}

function onlyWay(): HoldfastError {
  return new HoldfastError('wrong_state', 'Single sign-on is the only way in for everybody but the owners', {
    hint: 'Switch that off first, and see that people have another way in.',
  });
}

/** Which authority is trusted, in a form that can be compared. */
function digestOf(certificates: string | null): string | null {
  return certificates === null ? null : createHash('sha256').update(certificates).digest('hex');
}

function auditedOf(row: CheckedRow) {
  return {
    ...{ enabled: row.enabled, issuer: row.issuer, clientId: row.client_id, scopes: row.scopes },
    ...{ name: row.name, authority: digestOf(row.ca_certificates), groupsClaim: row.groups_claim },
    // Whoever may write a rule may make administrators: what it said is worth keeping.
    ...{ roleGroups: row.role_groups, teamGroups: row.team_groups },
    ...{ otherRole: row.other_role, makesAccounts: row.makes_accounts, logoutEndsKeys: row.logout_ends_keys },
    ...{ strongAcr: row.strong_acr, strongAmr: row.strong_amr },
  };
}

function toReply(row: ProviderRow): NonNullable<SingleSignOnReply['settings']> {
  return {
    ...{ enabled: row.enabled, name: row.name, issuer: row.issuer, clientId: row.client_id },
    ...{ caCertificates: row.ca_certificates, scopes: row.scopes, groupsClaim: row.groups_claim },
    roleGroups: row.role_groups as SingleSignOnChange['roleGroups'],
    teamGroups: row.team_groups as SingleSignOnChange['teamGroups'],
    otherRole: row.other_role as GivenRole | null,
    makesAccounts: row.makes_accounts,
    ...{ strongAcr: row.strong_acr, strongAmr: row.strong_amr, logoutEndsKeys: row.logout_ends_keys },
    ...{ changedAt: row.changed_at.toISOString(), version: row.version },
  };
}
