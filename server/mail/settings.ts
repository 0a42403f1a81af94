/**
 * Which mail server takes our mail. The password is write-only: it is never read out, and where mail goes cannot be changed without
 * typing it again, so that nobody has it sent to a server of their own.
 */
import { X509Certificate } from 'node:crypto';
import { recordAudit, type Actor } from '../audit/index.ts';
import type { FieldContext, FieldSealer, KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { checkShownName } from '../lib/shown-name.ts';
import { checkMailAddress } from './mail-address.ts';
import { mailState } from './mail-state.ts';
import {
  countMessages,
  deleteSettings,
  endWaiting,
  findSettings,
  hastenWaiting,
  lockSettings,
  saveSettings,
  type SettingsRow,
} from './queries.ts';
import type { MailSettingsChange, MailSettingsReply } from './schema.ts';
import type { SmtpServer } from './smtp/hand-over.ts';

export interface MailSettingsDeps {
  db: Database;
  clock: Clock;
  keys: Pick<KeyClient, 'applianceKey'>;
  sealer: Pick<FieldSealer, 'seal' | 'open'>;
}

const DAY_MS = 86_400_000;
const PASSWORD_FIELD: FieldContext = {
  ...{ type: 'smtp-password', workspaceId: '', subjectId: '', objectId: 'mail', version: '' },
};

export async function readMailSettings(
  deps: Pick<MailSettingsDeps, 'db' | 'clock'>,
): Promise<MailSettingsReply> {
  const now = deps.clock.now().getTime();
  const since = { day: new Date(now - DAY_MS), week: new Date(now - 7 * DAY_MS) };
  const [row, { state }, counts] = await Promise.all([
    findSettings(deps.db),
    mailState(deps.db),
    countMessages(deps.db, since),
  ]);
  const problem = (row?.problem ?? null) as { code: string; message: string; hint?: string } | null;
  return {
    state,
    settings: row === undefined ? null : toReply(row),
    lastSentAt: row?.last_sent_at?.toISOString() ?? null,
    problem:
      problem === null || row?.problem_at == null ? null : { ...problem, at: row.problem_at.toISOString() },
    ...counts,
  };
}

/**
 * @throws HoldfastError `invalid_input` for an address, name or certificate that is none, or when mail would go another way than
 *   before and the password is not given anew.
 */
export async function changeMailSettings(
  deps: MailSettingsDeps,
  change: MailSettingsChange,
  actor: Actor,
): Promise<MailSettingsReply> {
  const checked = checkChange(change);
  const { id: keyId } = await deps.keys.applianceKey();
  const sealed =
    typeof change.password === 'string'
      ? (
          await deps.sealer.seal([
            { keyId, purpose: 'secrets', context: PASSWORD_FIELD, value: change.password },
          ])
        )[0]
      : undefined;
  await writeTransaction(deps.db, async (tx) => {
    const before = await lockSettings(tx);
    refuseOtherWay(before, change);
    const kept = change.password === undefined ? (before?.password_sealed ?? null) : null;
    const now = deps.clock.now();
    await saveSettings(tx, {
      ...checked,
      password_sealed: sealed ?? kept,
      changed_at: now,
      problem: null,
      problem_at: null,
    });
    if (!change.paused) await hastenWaiting(tx, now);
    await recordAudit(tx, deps.clock, actor, {
      action: 'mail.settings.changed',
      objectType: 'mail',
      detail: {
        before: before === undefined ? null : auditedOf(before),
        after: auditedOf(checked),
        passwordChanged: change.password !== undefined,
      },
    });
  });
  return readMailSettings(deps);
}

/** Takes the mail server away; what waits will not be sent. @throws HoldfastError `not_found` when there is none. */
export async function removeMailSettings(
  deps: Pick<MailSettingsDeps, 'db' | 'clock'>,
  actor: Actor,
): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const before = await lockSettings(tx);
    if (before === undefined) throw new HoldfastError('not_found', 'No mail server is set up');
    await deleteSettings(tx);
    const dropped = await endWaiting(tx, deps.clock.now());
    await recordAudit(tx, deps.clock, actor, {
      action: 'mail.settings.removed',
      objectType: 'mail',
      detail: { before: auditedOf(before), dropped },
    });
  });
}

/** The server with its password, for sending. */
export async function openServer(
  deps: Pick<MailSettingsDeps, 'keys' | 'sealer'>,
  row: SettingsRow,
): Promise<SmtpServer> {
  let password: string | undefined;
  if (row.password_sealed !== null) {
    const { id: keyId } = await deps.keys.applianceKey();
    const [opened] = await deps.sealer.open([
      { keyId, purpose: 'secrets', context: PASSWORD_FIELD, sealed: row.password_sealed },
    ]);
    password = opened?.toString('utf8');
  }
  return {
    host: row.host,
    port: row.port,
    security: row.security as SmtpServer['security'],
    leastTls: row.least_tls as SmtpServer['leastTls'],
    caCertificates: row.ca_certificates ?? undefined,
    username: row.username ?? undefined,
    password,
  };
}

type CheckedRow = Omit<
  SettingsRow,
  'singleton' | 'password_sealed' | 'changed_at' | 'last_sent_at' | 'problem_at' | 'problem' | 'version'
>;

function checkChange(change: MailSettingsChange): CheckedRow {
  const senderName = checkShownName(change.senderName, 'The name of the sender');
  if (change.username !== null && /\p{Cc}/u.test(change.username))
    throw new HoldfastError('invalid_input', 'The user holds control characters');
  if (typeof change.password === 'string' && change.username === null) {
    throw new HoldfastError('invalid_input', 'There is a password and no user', {
      hint: 'Give the user too, or leave both empty for a server that asks for none.',
    });
  }
  const certificates = change.caCertificates?.trim() ?? '';
  return {
    host: change.host,
    port: change.port,
    security: change.security,
    least_tls: change.leastTls,
    ca_certificates: certificates === '' ? null : checkCertificates(certificates),
    username: change.username,
    sender_name: senderName,
    sender_address: checkMailAddress(change.senderAddress),
    messages_a_minute: change.messagesAMinute,
    paused: change.paused,
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

function refuseOtherWay(before: SettingsRow | undefined, change: MailSettingsChange): void {
  if (before?.password_sealed == null || change.password !== undefined) return;
  const same =
    before.host === change.host &&
    before.port === change.port &&
    before.security === change.security &&
    before.username === change.username &&
    (before.ca_certificates ?? '').trim() === (change.caCertificates ?? '').trim() &&
    (before.least_tls === change.leastTls || change.leastTls === '1.3');
  if (same) return;
  throw new HoldfastError(
    'invalid_input',
    'Give the password again: it would go to another place than before',
    {
      hint: 'The password that is kept is only ever sent where it was meant for.',
    },
  );
}

/** Facts for the log; the sender's address is the appliance's own. */
function auditedOf(row: CheckedRow) {
  return {
    host: row.host,
    port: row.port,
    security: row.security,
    leastTls: row.least_tls,
    ownAuthority: row.ca_certificates !== null,
    signsIn: row.username !== null,
    messagesAMinute: row.messages_a_minute,
    paused: row.paused,
  };
}

function toReply(row: SettingsRow): NonNullable<MailSettingsReply['settings']> {
  return {
    host: row.host,
    port: row.port,
    security: row.security as 'implicit',
    leastTls: row.least_tls as '1.3',
    caCertificates: row.ca_certificates,
    username: row.username,
    senderName: row.sender_name,
    senderAddress: row.sender_address,
    messagesAMinute: row.messages_a_minute,
    paused: row.paused,
    passwordSet: row.password_sealed !== null,
    changedAt: row.changed_at.toISOString(),
  };
}
