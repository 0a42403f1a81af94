/**
 * Puts a message into the queue, in the transaction of the act that it tells of: no act without its mail, no mail without its act.
 * Guarantees: what lies in the table tells neither an address nor what was written, without the appliance key.
 */
import { randomUUID } from 'node:crypto';
import type { FieldContext, FieldSealer, KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { WriteTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { checkMailAddress } from './mail-address.ts';
import { findSettings, insertMessage } from './queries.ts';
import type { TemplateData, TemplateName } from './templates/all-templates.ts';

export interface QueueMailDeps {
  clock: Clock;
  keys: Pick<KeyClient, 'applianceKey'>;
  sealer: Pick<FieldSealer, 'seal'>;
}

/** Who gets it: a person, whose address is looked up when it is sent, or somebody who is not a person here yet. */
export type MailRecipient = { userId: string } | { email: string };

export interface Mail<Name extends TemplateName> {
  to: MailRecipient;
  template: Name;
  data: TemplateData<Name>;
  /** After this it is not sent any more, such as a link that has run out; four days when left out. */
  expiresAt?: Date;
}

export interface QueuedMail {
  id: string;
  /** False when no mail server is set up: it is in the log as one that could not be sent, without its content. */
  sending: boolean;
}

/** As long as RFC 5321, section 4.5.4.1, advises to go on trying. */
const KEEP_TRYING_MS = 4 * 86_400_000;
const DATA_LIMIT_BYTES = 16 * 1024;

/**
 * @throws HoldfastError `invalid_input` for an address that is none; `too_large` above 16 KiB of data.
 */
export async function queueMail<Name extends TemplateName>(
  tx: WriteTransaction,
  deps: QueueMailDeps,
  mail: Mail<Name>,
): Promise<QueuedMail> {
  const id = randomUUID();
  const now = deps.clock.now();
  const sending = (await findSettings(tx)) !== undefined;
  const data = JSON.stringify(mail.data);
  if (Buffer.byteLength(data) > DATA_LIMIT_BYTES)
    throw new HoldfastError('too_large', 'A message holds at most 16 KiB of data', { detail: mail.template });
  const address = 'email' in mail.to ? checkMailAddress(mail.to.email) : undefined;
  const [dataSealed, addressSealed] = await sealParts(deps, id, data, address);
  await insertMessage(tx, {
    id,
    template: mail.template,
    user_id: 'userId' in mail.to ? mail.to.userId : null,
    address_sealed: addressSealed ?? null,
    data_sealed: sending ? (dataSealed ?? null) : null,
    state: sending ? 'queued' : 'unsendable',
    created_at: now,
    expires_at: mail.expiresAt ?? new Date(now.getTime() + KEEP_TRYING_MS),
    next_attempt_at: sending ? now : null,
    ended_at: sending ? null : now,
  });
  return { id, sending };
}

/** What a sealed part of a message belongs to. */
export function mailField(type: 'mail-address' | 'mail-data' | 'mail-answer', id: string): FieldContext {
  return { type, workspaceId: '', subjectId: '', objectId: id, version: '' };
}

async function sealParts(
  deps: QueueMailDeps,
  id: string,
  data: string,
  address: string | undefined,
): Promise<Buffer[]> {
  const { id: keyId } = await deps.keys.applianceKey();
  return deps.sealer.seal([
    { keyId, purpose: 'secrets', context: mailField('mail-data', id), value: data },
    ...(address === undefined
      ? []
      : [{ keyId, purpose: 'secrets' as const, context: mailField('mail-address', id), value: address }]),
  ]);
}
