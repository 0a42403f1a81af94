/**
 * Delivers what is queued. Guarantees: one process at a time speaks with a receiver, by a lease in the row; one that dies between
 * sending and noting it leaves a lease that ends, and the event is sent again under the same id (at least once). A receiver that hangs
 * holds up no other. After a day it is given up, which is an alert of its own.
 */
import type { Clock } from '../../lib/clock.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { writeTransaction, type Database } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { callOut, type CallResult } from '../outgoing/call-out.ts';
import { openPart, type SealDeps } from '../outgoing/secret-address.ts';
import { signatureHeaders } from './sign.ts';
import {
  expireDeliveries,
  findWebhook,
  lockDueDeliveries,
  recordTry,
  updateDelivery,
  type DeliveryRow,
} from './webhook-queries.ts';

interface DeliverDeps extends SealDeps {
  db: Database;
  clock: Clock;
  log: Logger;
  /** True while this appliance may be a copy of another one: it tells nobody anything then. */
  isHeld(): Promise<boolean>;
}

const LOOK_EVERY_MS = 2_000;
/** Longer than any try may take. */
const LEASE_MS = 60_000;
const MOST_AT_ONCE = 8;
const FIRST_WAIT_MS = 10_000;
const LONGEST_WAIT_MS = 4 * 3_600_000;

/** Looks every two seconds, in this process; `stop` waits for what is under way. */
export function startWebhookSender(deps: DeliverDeps): { stop(): Promise<void> } {
  let work: Promise<void> | undefined;
  const look = async () => {
    try {
      while (!stopping && (await deliverDue(deps)) > 0);
    } catch (error) {
      deps.log.error({ err: error }, 'Delivering webhooks failed; it is tried again');
    }
  };
  let stopping = false;
  const timer = setInterval(() => {
    work ??= look().finally(() => (work = undefined));
  }, LOOK_EVERY_MS);
  timer.unref();
  return {
    stop: async () => {
      stopping = true;
      clearInterval(timer);
      await work;
    },
  };
}

/** Tries what is due, one for each receiver, all at once. @returns how many were tried. */
export async function deliverDue(deps: DeliverDeps): Promise<number> {
  if (await deps.isHeld()) return 0;
  const leased = await lease(deps);
  await Promise.all(leased.map((delivery) => deliver(deps, delivery)));
  return leased.length;
}

async function lease(deps: DeliverDeps): Promise<DeliveryRow[]> {
  return writeTransaction(deps.db, async (tx) => {
    const now = deps.clock.now();
    await expireDeliveries(tx, now);
    const due = await lockDueDeliveries(tx, now, MOST_AT_ONCE);
    const change = { last_attempt_at: now, leased_until: new Date(now.getTime() + LEASE_MS) };
    const leased = due.map((row) => ({ ...row, ...change, attempts: row.attempts + 1 }));
    for (const { id, attempts } of leased) await updateDelivery(tx, id, { ...change, attempts });
    return leased;
  });
}

async function deliver(deps: DeliverDeps, delivery: DeliveryRow): Promise<void> {
  crashPoint('webhook.leased');
  const result = await attempt(deps, delivery);
  crashPoint('webhook.sent');
  const now = deps.clock.now();
  const ended = { next_attempt_at: null, ended_at: now };
  const { retryAfterMs, good, status, message, hint, tookMs } = result;
  const waitMs = Math.max(waitAfter(delivery.attempts), retryAfterMs ?? 0);
  const gone = result.status === 410 || now.getTime() + waitMs >= delivery.expires_at.getTime();
  await recordTry(deps.db, delivery, {
    answer: JSON.stringify({ status, message, hint, tookMs }),
    ...(good
      ? { ...ended, state: 'delivered' }
      : gone
        ? { ...ended, state: 'failed' }
        : { next_attempt_at: new Date(now.getTime() + waitMs) }),
  });
  const facts = { webhook: delivery.webhook_id, delivery: delivery.id, event: delivery.event };
  const said = { ...facts, attempt: delivery.attempts, status: result.status, ms: result.tookMs };
  deps.log[good ? 'info' : 'warn'](said, good ? 'A webhook was delivered' : 'A webhook was not delivered');
}

async function attempt(deps: DeliverDeps, delivery: DeliveryRow): Promise<CallResult> {
  try {
    const receiver = await findWebhook(deps.db, delivery.webhook_id);
    if (receiver === undefined) throw new HoldfastError('not_found', 'This receiver is gone');
    const { id } = receiver;
    const now = deps.clock.now();
    const url = new URL(await openPart(deps, 'webhook-url', id, receiver.url_sealed));
    const secrets = [await openPart(deps, 'webhook-secret', id, receiver.secret_sealed)];
    const { old_secret_sealed: old, old_secret_until: until } = receiver;
    if (old !== null && until !== null && until > now)
      secrets.push(await openPart(deps, 'webhook-old-secret', id, old));
    const timestampS = Math.floor(now.getTime() / 1000);
    return await callOut({
      ...{ url, method: 'POST', allowHttp: receiver.allow_http, body: delivery.body },
      headers: {
        'content-type': 'application/json',
        ...signatureHeaders(secrets, { id: delivery.id, timestampS, body: delivery.body }),
      },
    });
  } catch (error) {
    // Such as a keyring that is away: it may be back at the next try.
    deps.log.error({ err: error, delivery: delivery.id }, 'A webhook could not be made');
    const known = error instanceof HoldfastError ? error : undefined;
    const message = known?.message ?? 'It could not be made; the log of the appliance says why';
    return { good: false, status: null, message, hint: known?.hint ?? null, tookMs: 0, retryAfterMs: null };
  }
}

/** Ten seconds, three times as long with every try up to four hours, give or take a fifth so that many do not come at once. */
export function waitAfter(attempts: number, random = Math.random()): number {
  const waitMs = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 3 ** Math.min(attempts - 1, 20));
  return Math.round(waitMs * (0.8 + 0.4 * random));
}
