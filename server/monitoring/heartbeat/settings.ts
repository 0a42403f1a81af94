/** Where the heartbeat goes. Its address is a secret: it comes in, is kept sealed, and is shown as its first part. */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { checkAddress, openPart, sealPart, showAddress } from '../outgoing/secret-address.ts';
import type { CallAnswer } from '../webhooks/schema.ts';
import { beat, HEARTBEAT_ID, takesState, type BeatDeps } from './beat.ts';
import {
  deleteHeartbeat,
  findHeartbeat,
  lockHeartbeat,
  saveHeartbeat,
  type HeartbeatRow,
} from './heartbeat-queries.ts';
import type { HeartbeatChange, HeartbeatReply } from './schema.ts';

export async function readHeartbeat(deps: BeatDeps): Promise<HeartbeatReply> {
  const [row, held] = await Promise.all([findHeartbeat(deps.db), deps.isHeld()]);
  return { heartbeat: row === undefined ? null : await describe(deps, row), held };
}

async function describe(
  deps: BeatDeps,
  row: HeartbeatRow,
): Promise<NonNullable<HeartbeatReply['heartbeat']>> {
  // Without the keyring the page says the rest all the same.
  const address = await openPart(deps, 'heartbeat-url', HEARTBEAT_ID, row.url_sealed).catch(() => '');
  return {
    ...{ method: row.method as 'GET', everyMinutes: row.every_minutes, allowHttp: row.allow_http },
    ...{ paused: row.paused, address: row.url_shown, failureAddress: row.failure_url_shown },
    tellsDown: row.failure_url_shown !== null || takesState(address),
    changedAt: row.changed_at.toISOString(),
    calledAt: row.called_at?.toISOString() ?? null,
    answeredAt: row.answered_at?.toISOString() ?? null,
    toldState: row.told_state as 'up' | null,
    answer: row.answer as CallAnswer | null,
    failingSince: row.failing_since?.toISOString() ?? null,
  };
}

/** @throws HoldfastError `invalid_input` for an address that is refused, or none at all */
export async function changeHeartbeat(
  deps: BeatDeps,
  actor: Actor,
  change: HeartbeatChange,
): Promise<HeartbeatReply> {
  const { allowHttp, method, everyMinutes, paused } = change;
  const url = change.url === undefined ? undefined : checkAddress(change.url, allowHttp);
  const failureUrl = change.failureUrl == null ? undefined : checkAddress(change.failureUrl, allowHttp);
  const sealed = url && (await sealPart(deps, 'heartbeat-url', HEARTBEAT_ID, url.href));
  const failureSealed =
    failureUrl && (await sealPart(deps, 'heartbeat-failure-url', HEARTBEAT_ID, failureUrl.href));
  await writeTransaction(deps.db, async (tx) => {
    const before = await lockHeartbeat(tx);
    const [urlSealed, shown] = [sealed ?? before?.url_sealed, url ? showAddress(url) : before?.url_shown];
    if (urlSealed === undefined || shown === undefined) {
      throw new HoldfastError('invalid_input', 'There is no address to call', {
        hint: 'Give the one that the service outside shows.',
      });
    }
    const failure =
      change.failureUrl === undefined
        ? { sealed: before?.failure_url_sealed ?? null, shown: before?.failure_url_shown ?? null }
        : { sealed: failureSealed ?? null, shown: failureUrl ? showAddress(failureUrl) : null };
    if (!allowHttp && [shown, failure.shown].some((one) => one?.startsWith('http:'))) {
      throw new HoldfastError(
        'invalid_input',
        'An address begins with http://, which would be refused then',
        {
          hint: 'Give https addresses too.',
        },
      );
    }
    await saveHeartbeat(tx, {
      ...{ url_sealed: urlSealed, url_shown: shown },
      ...{ failure_url_sealed: failure.sealed, failure_url_shown: failure.shown },
      ...{ method, every_minutes: everyMinutes, allow_http: allowHttp, paused, changed_at: deps.clock.now() },
      ...{ called_at: null, told_state: null, failing_since: null, answer: null },
    });
    await recordAudit(tx, deps.clock, actor, {
      ...{ action: 'monitoring.heartbeat.changed', objectType: 'settings', objectId: HEARTBEAT_ID },
      detail: {
        ...{ method, everyMinutes, allowHttp, paused, address: shown, failureAddress: failure.shown },
        addressChanged: url !== undefined || change.failureUrl !== undefined,
      },
    });
  });
  return readHeartbeat(deps);
}

/** @throws HoldfastError `not_found` */
export async function removeHeartbeat(deps: BeatDeps, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const before = await lockHeartbeat(tx);
    if (before === undefined) throw new HoldfastError('not_found', 'No heartbeat is set up');
    await deleteHeartbeat(tx);
    await recordAudit(tx, deps.clock, actor, {
      ...{ action: 'monitoring.heartbeat.removed', objectType: 'settings', objectId: HEARTBEAT_ID },
      detail: { address: before.url_shown },
    });
  });
}

/** @throws HoldfastError `not_found`, `wrong_state` in quarantine and where only silence can tell the state. */
export async function callNow(deps: BeatDeps, actor: Actor): Promise<HeartbeatReply> {
  await writeTransaction(deps.db, async (tx) => {
    if ((await lockHeartbeat(tx)) === undefined)
      throw new HoldfastError('not_found', 'No heartbeat is set up');
    await recordAudit(tx, deps.clock, actor, {
      ...{ action: 'monitoring.heartbeat.called', objectType: 'settings', objectId: HEARTBEAT_ID },
    });
  });
  if (!(await beat(deps, { now: true }))) {
    const held = await deps.isHeld();
    throw new HoldfastError(
      'wrong_state',
      held
        ? 'This appliance is in quarantine: it calls nobody'
        : 'A problem is open: the heartbeat is silent, since it has no way to tell that something is bad',
      {
        hint: held
          ? 'End the quarantine first.'
          : 'Take care of the alert, or give an address for failures, or one with {status} in it.',
      },
    );
  }
  return readHeartbeat(deps);
}
