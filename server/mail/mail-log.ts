/** What was sent, what waits and what failed; and letting one go again or not at all. */
import { recordAudit, type Actor } from '../audit/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { readPageMark, writePageMark } from '../lib/page-mark.ts';
import {
  deleteMessagesBefore,
  expireMessages,
  listMessageRows,
  lockMessage,
  updateMessage,
  type MessageRow,
} from './queries.ts';
import type { MailMessage, MailPage, MailQuery } from './schema.ts';
import { openPart, type SendDeps } from './send-mail.ts';
import { findTemplate } from './templates/all-templates.ts';

const KEPT_MS = 90 * 86_400_000;
const UNREADABLE = '(unreadable)';

/** Newest first. @throws HoldfastError `invalid_input` for a cursor that no page gave out. */
export async function listMail(deps: SendDeps, query: MailQuery): Promise<MailPage> {
  const { limit = 50, cursor, user, from, to, state, template } = query;
  const rows = await listMessageRows(deps.db, {
    state,
    template,
    userId: user,
    from: from === undefined ? undefined : new Date(from),
    to: to === undefined ? undefined : new Date(to),
    after: cursor === undefined ? undefined : readPageMark(cursor),
    limit: limit + 1,
  });
  const shown = rows.slice(0, limit);
  const names = await namesOf(deps, shown);
  const items = await Promise.all(shown.map((row) => toMessage(deps, row, names)));
  const last = shown.at(-1);
  return {
    items,
    nextCursor:
      rows.length > limit && last !== undefined ? writePageMark({ at: last.created_at, id: last.id }) : null,
  };
}

/**
 * Due again at once, with its tries counted from the start.
 *
 * @throws HoldfastError `not_found`; `wrong_state` for one that ended and has no content any more.
 */
export async function retryMessage(deps: SendDeps, id: string, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const row = await lockMessage(tx, id);
    if (row === undefined) throw noSuchMessage();
    if (row.state !== 'failed' && row.state !== 'queued') throw ended();
    if (row.data_sealed === null || row.expires_at <= deps.clock.now()) throw ended();
    await updateMessage(tx, id, { state: 'queued', next_attempt_at: deps.clock.now(), ended_at: null });
    await recordAudit(tx, deps.clock, actor, {
      action: 'mail.message.retried',
      objectType: 'mail-message',
      objectId: id,
    });
  });
}

/** @throws HoldfastError `not_found`; `wrong_state` for one that ended, or that is being sent at this moment. */
export async function cancelMessage(deps: SendDeps, id: string, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const row = await lockMessage(tx, id);
    if (row === undefined) throw noSuchMessage();
    if (row.state !== 'queued') throw ended();
    const now = deps.clock.now();
    if (row.leased_until !== null && row.leased_until > now) {
      throw new HoldfastError('wrong_state', 'This message is being sent at this moment', {
        hint: 'Look again in a minute.',
      });
    }
    await updateMessage(tx, id, {
      ...{ state: 'cancelled', data_sealed: null, next_attempt_at: null, leased_until: null, ended_at: now },
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'mail.message.cancelled',
      objectType: 'mail-message',
      objectId: id,
    });
  });
}

/** Takes the content of what will not be sent any more, and rows that ended long ago. */
export async function tidyMail(deps: Pick<SendDeps, 'db' | 'clock'>): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const now = deps.clock.now();
    await expireMessages(tx, now);
    await deleteMessagesBefore(tx, new Date(now.getTime() - KEPT_MS));
  });
}

async function namesOf(deps: SendDeps, rows: readonly MessageRow[]): Promise<Map<string, string>> {
  const ids = new Set(rows.flatMap((row) => row.user_id ?? []));
  const names = await Promise.all(
    [...ids].map(async (id) => [id, (await deps.recipientOf(id))?.name ?? UNREADABLE] as const),
  );
  return new Map(names);
}

async function toMessage(
  deps: SendDeps,
  row: MessageRow,
  names: ReadonlyMap<string, string>,
): Promise<MailMessage> {
  const readable = (type: 'mail-address' | 'mail-answer', sealed: Buffer | null) =>
    sealed === null ? undefined : openPart(deps, row.id, type, sealed).catch(() => UNREADABLE);
  const to =
    row.user_id === null ? await readable('mail-address', row.address_sealed) : names.get(row.user_id);
  return {
    id: row.id,
    template: row.template,
    title: findTemplate(row.template)?.title ?? row.template,
    userId: row.user_id,
    to: to ?? UNREADABLE,
    state: row.state as MailMessage['state'],
    attempts: row.attempts,
    createdAt: row.created_at.toISOString(),
    lastAttemptAt: row.last_attempt_at?.toISOString() ?? null,
    nextAttemptAt: row.next_attempt_at?.toISOString() ?? null,
    expiresAt: row.expires_at.toISOString(),
    endedAt: row.ended_at?.toISOString() ?? null,
    answer: (await readable('mail-answer', row.answer_sealed)) ?? null,
    canRetry:
      (row.state === 'failed' || row.state === 'queued') &&
      row.data_sealed !== null &&
      row.expires_at > deps.clock.now(),
  };
}

function noSuchMessage(): HoldfastError {
  return new HoldfastError('not_found', 'There is no such message');
}

function ended(): HoldfastError {
  return new HoldfastError('wrong_state', 'This message has ended: its content is gone', {
    hint: 'Do again what it told of, such as inviting the person anew.',
  });
}
