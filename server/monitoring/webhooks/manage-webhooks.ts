/** Receivers of events: added, changed, tried, with their log. Addresses and secrets come in or are shown once, and never go out again. */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { readPageMark, writePageMark } from '../../lib/page-mark.ts';
import { checkShownName } from '../../lib/shown-name.ts';
import { checkAddress, openPart, sealPart, showAddress, type SealDeps } from '../outgoing/secret-address.ts';
import { deliveryOf, KEEP_TRYING_MS } from './queue-events.ts';
import type {
  CallAnswer,
  Delivery,
  DeliveryPage,
  DeliveryQuery,
  Webhook,
  WebhookChange,
  WebhookDraft,
  WebhookWithSecret,
} from './schema.ts';
import { makeSecret } from './sign.ts';
import {
  deleteDeliveriesBefore,
  deleteWebhook,
  expireDeliveries,
  findNewestNumber,
  findWebhook,
  insertDeliveries,
  insertWebhook,
  isNameTaken,
  listDeliveryRows,
  listReceiverStates,
  listWebhookRows,
  lockDelivery,
  lockWebhook,
  updateDelivery,
  updateWebhook,
  type DeliveryRow,
  type WebhookRow,
} from './webhook-queries.ts';

export interface WebhookDeps extends SealDeps {
  db: Database;
  clock: Clock;
}

const MOST_WEBHOOKS = 20;
const KEEP_LOG_MS = 90 * 86_400_000;
const HOUR_MS = 3_600_000;

export async function listWebhooks(deps: Pick<WebhookDeps, 'db'>): Promise<Webhook[]> {
  const [rows, states] = await Promise.all([listWebhookRows(deps.db), listReceiverStates(deps.db)]);
  return Promise.all(rows.map((row) => describe(deps, row, states.get(row.id)?.waiting ?? 0)));
}

/** @throws HoldfastError `invalid_input` for an address or a name that is refused; `conflict` for a name in use; `too_large` above 20. */
export async function addWebhook(
  deps: WebhookDeps,
  actor: Actor,
  draft: WebhookDraft,
): Promise<WebhookWithSecret> {
  const name = checkShownName(draft.name, 'The name');
  const url = checkAddress(draft.url, draft.allowHttp);
  const [id, secret, now] = [randomUUID(), makeSecret(), deps.clock.now()];
  const [urlSealed, secretSealed] = [
    await sealPart(deps, 'webhook-url', id, url.href),
    await sealPart(deps, 'webhook-secret', id, secret),
  ];
  await writeTransaction(deps.db, async (tx) => {
    await refuseName(tx, name);
    if ((await listWebhookRows(tx)).length >= MOST_WEBHOOKS)
      throw new HoldfastError('too_large', `There are ${MOST_WEBHOOKS} receivers already`, {
        hint: 'Remove one that is not needed any more.',
      });
    await insertWebhook(tx, {
      ...{ id, name, url_sealed: urlSealed, url_shown: showAddress(url), secret_sealed: secretSealed },
      ...{ allow_http: draft.allowHttp, events: JSON.stringify(draft.events), least: draft.least },
      ...{ paused: draft.paused, created_at: now, changed_at: now },
      // Of what was before it came nobody is told.
      snapshot_number: await findNewestNumber(tx),
    });
    await note(tx, deps, actor, 'added', id, { name, ...choicesOf(draft), address: showAddress(url) });
  });
  return { webhook: await showWebhook(deps, id), secret };
}

/** @throws as `addWebhook`, and `not_found` */
export async function changeWebhook(
  deps: WebhookDeps,
  actor: Actor,
  id: string,
  change: WebhookChange,
): Promise<Webhook> {
  const name = checkShownName(change.name, 'The name');
  const url = change.url === undefined ? undefined : checkAddress(change.url, change.allowHttp);
  const sealed = url === undefined ? undefined : await sealPart(deps, 'webhook-url', id, url.href);
  await writeTransaction(deps.db, async (tx) => {
    const before = await locked(tx, id);
    if (url === undefined && !change.allowHttp && before.url_shown.startsWith('http:')) {
      throw new HoldfastError(
        'invalid_input',
        'The address begins with http://, which would be refused then',
        {
          hint: 'Give an https address too.',
        },
      );
    }
    await refuseName(tx, name, id);
    await updateWebhook(tx, id, {
      ...{ name, allow_http: change.allowHttp, least: change.least, paused: change.paused },
      ...{ events: JSON.stringify(change.events), changed_at: deps.clock.now() },
      ...(url === undefined || sealed === undefined
        ? {}
        : { url_sealed: sealed, url_shown: showAddress(url) }),
      ...(before.paused && !change.paused ? { snapshot_number: await findNewestNumber(tx) } : {}),
    });
    await note(tx, deps, actor, 'changed', id, {
      from: { name: before.name, events: before.events, least: before.least, paused: before.paused },
      to: { name, ...choicesOf(change) },
      addressChanged: url !== undefined,
    });
  });
  return showWebhook(deps, id);
}

/** With its queue and its log. @throws HoldfastError `not_found` */
export async function removeWebhook(deps: WebhookDeps, actor: Actor, id: string): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const { name, url_shown: address } = await locked(tx, id);
    await deleteWebhook(tx, id);
    await note(tx, deps, actor, 'removed', id, { name, address });
  });
}

/** A new secret; the one before signs beside it for some hours, so that no event is refused in between. @throws `not_found` */
export async function renewSecret(
  deps: WebhookDeps,
  actor: Actor,
  id: string,
  overlapHours: number,
): Promise<WebhookWithSecret> {
  const before = await findWebhook(deps.db, id);
  if (before === undefined) throw missing();
  const secret = makeSecret();
  const sealed = await sealPart(deps, 'webhook-secret', id, secret);
  const old = await openPart(deps, 'webhook-secret', id, before.secret_sealed);
  const oldSealed = overlapHours === 0 ? null : await sealPart(deps, 'webhook-old-secret', id, old);
  const until = new Date(deps.clock.now().getTime() + overlapHours * HOUR_MS);
  await writeTransaction(deps.db, async (tx) => {
    const now = await locked(tx, id);
    if (!now.secret_sealed.equals(before.secret_sealed))
      throw new HoldfastError('conflict', 'Somebody else has just renewed this secret', {
        hint: 'Load the page again.',
      });
    await updateWebhook(tx, id, {
      secret_sealed: sealed,
      old_secret_sealed: oldSealed,
      old_secret_until: oldSealed === null ? null : until,
    });
    await note(tx, deps, actor, 'secret-renewed', id, { name: now.name, overlapHours });
  });
  return { webhook: await showWebhook(deps, id), secret };
}

/** Queues an event that says that it is a trial. @throws HoldfastError `not_found`, `wrong_state` while it is paused */
export async function tryWebhook(deps: WebhookDeps, actor: Actor, id: string): Promise<Delivery> {
  const made = await writeTransaction(deps.db, async (tx) => {
    const row = await locked(tx, id);
    if (row.paused)
      throw new HoldfastError('wrong_state', 'This receiver is paused', { hint: 'Let it go on first.' });
    const test = { event: 'test', title: 'A trial by a person', alertId: null, data: { receiver: row.name } };
    const delivery = deliveryOf(row, test, deps.clock.now());
    await insertDeliveries(tx, [delivery]);
    await note(tx, deps, actor, 'tried', id, { name: row.name, delivery: delivery.id });
    return lockDelivery(tx, id, delivery.id);
  });
  if (made === undefined) throw new HoldfastError('internal', 'The trial was not queued');
  return toDelivery(made);
}

/** What was given up, or waits, is tried at once, for another day. @throws HoldfastError `not_found`; `wrong_state` when delivered. */
export async function retryDelivery(
  deps: WebhookDeps,
  actor: Actor,
  id: string,
  deliveryId: string,
): Promise<Delivery> {
  const after = await writeTransaction(deps.db, async (tx) => {
    const receiver = await locked(tx, id);
    const row = await lockDelivery(tx, id, deliveryId);
    if (row === undefined) throw new HoldfastError('not_found', 'There is no such delivery');
    if (row.state === 'delivered')
      throw new HoldfastError('wrong_state', 'It has been delivered', { hint: 'Load the page again.' });
    if (receiver.paused)
      throw new HoldfastError('wrong_state', 'This receiver is paused', { hint: 'Let it go on first.' });
    const now = deps.clock.now();
    const change = {
      ...{ state: 'queued', ended_at: null, next_attempt_at: now },
      expires_at: new Date(now.getTime() + KEEP_TRYING_MS),
    };
    await updateDelivery(tx, deliveryId, change);
    await note(tx, deps, actor, 'retried', id, {
      name: receiver.name,
      delivery: deliveryId,
      event: row.event,
    });
    return { ...row, ...change };
  });
  return toDelivery(after);
}

/** @throws HoldfastError `not_found`, `invalid_input` for a page mark that is none */
export async function listDeliveries(
  deps: Pick<WebhookDeps, 'db'>,
  id: string,
  query: DeliveryQuery,
): Promise<DeliveryPage> {
  if ((await findWebhook(deps.db, id)) === undefined) throw missing();
  const limit = query.limit ?? 50;
  const before = query.cursor === undefined ? undefined : readPageMark(query.cursor);
  const rows = await listDeliveryRows(deps.db, id, { limit: limit + 1, before });
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  const more = rows.length > limit && last !== undefined;
  return {
    items: page.map(toDelivery),
    nextCursor: more ? writePageMark({ at: last.created_at, id: last.id }) : null,
  };
}

/** Hourly: gives up what is too old, also of paused receivers, and drops the log of long ago. */
export async function tidyWebhooks(deps: Pick<WebhookDeps, 'db' | 'clock'>): Promise<void> {
  const now = deps.clock.now();
  await writeTransaction(deps.db, async (tx) => {
    await expireDeliveries(tx, now);
    await deleteDeliveriesBefore(tx, new Date(now.getTime() - KEEP_LOG_MS));
  });
}

async function showWebhook(deps: Pick<WebhookDeps, 'db'>, id: string): Promise<Webhook> {
  const row = await findWebhook(deps.db, id);
  if (row === undefined) throw missing();
  return describe(deps, row, (await listReceiverStates(deps.db)).get(id)?.waiting ?? 0);
}

async function describe(deps: Pick<WebhookDeps, 'db'>, row: WebhookRow, waiting: number): Promise<Webhook> {
  const [newest] = await listDeliveryRows(deps.db, row.id, { limit: 1 });
  return {
    ...{ id: row.id, name: row.name, address: row.url_shown, allowHttp: row.allow_http, paused: row.paused },
    events: row.events as Webhook['events'],
    least: row.least as Webhook['least'],
    createdAt: row.created_at.toISOString(),
    oldSecretUntil: row.old_secret_until?.toISOString() ?? null,
    waiting,
    last: newest === undefined ? null : toDelivery(newest),
  };
}

function toDelivery(row: DeliveryRow): Delivery {
  return {
    ...{ id: row.id, event: row.event, title: row.title, attempts: row.attempts },
    state: row.state as Delivery['state'],
    createdAt: row.created_at.toISOString(),
    lastAttemptAt: row.last_attempt_at?.toISOString() ?? null,
    nextAttemptAt: row.next_attempt_at?.toISOString() ?? null,
    endedAt: row.ended_at?.toISOString() ?? null,
    answer: row.answer as CallAnswer | null,
  };
}

async function refuseName(tx: WriteTransaction, name: string, except?: string): Promise<void> {
  if (await isNameTaken(tx, name, except))
    throw new HoldfastError('conflict', 'Another receiver has this name', { hint: 'Choose another name.' });
}

async function locked(tx: WriteTransaction, id: string): Promise<WebhookRow> {
  const row = await lockWebhook(tx, id);
  if (row === undefined) throw missing();
  return row;
}

const missing = () => new HoldfastError('not_found', 'There is no such receiver');

function choicesOf({ events, least, paused, allowHttp }: WebhookChange) {
  return { events, least, paused, allowHttp };
}

async function note(
  tx: WriteTransaction,
  deps: Pick<WebhookDeps, 'clock'>,
  actor: Actor,
  word: string,
  id: string,
  detail: object,
): Promise<void> {
  await recordAudit(tx, deps.clock, actor, {
    action: `monitoring.webhook.${word}`,
    objectType: 'webhook',
    objectId: id,
    detail: { ...detail },
  });
}
