/**
 * Signs that somebody else uses a person's account. Certain ones end the session (`theft.ts`); likely ones are told, and end sessions
 * only where the owner has said so: they also happen to honest people who travel or buy a computer.
 */
import { randomUUID } from 'node:crypto';
import { isIP, isIPv4, isIPv6 } from 'node:net';
import { recordAudit, type Actor } from '../../audit/index.ts';
import type { WriteTransaction } from '../../lib/db.ts';
import { queueMail, type QueueMailDeps } from '../../mail/index.ts';
import { lockFailures, updateFailures } from '../sign-in/queries.ts';
import { describeBrowser, differentBrowsers } from './browser.ts';
import {
  endSessions,
  getSessionSettings,
  insertAlert,
  listKnownDevices,
  listToldAddresses,
  noteAddress,
  type SessionRow,
} from './queries.ts';

export type AlertKind =
  'new-device' | 'new-network' | 'many-failures' | 'token-replayed' | 'two-browsers' | 'past-single-sign-on';

const ALERT_WORDS: Record<AlertKind, string> = {
  'new-device': 'Somebody signed in from a device that was not seen before',
  'new-network': 'Your session is used from a network that was not seen before',
  'many-failures': 'Many attempts to sign in to your account have failed',
  'token-replayed': 'A session was ended because its token was used twice: somebody has a copy of it',
  'two-browsers': 'A session was ended because it was used from two different browsers',
  'past-single-sign-on': 'Another owner signed in with a password, past single sign-on',
};

/** Of any kind, also one that a later version wrote. */
export function alertWords(kind: string): string {
  return Object.hasOwn(ALERT_WORDS, kind)
    ? ALERT_WORDS[kind as AlertKind]
    : 'Something unusual happened with your account';
}

const ENDED_WORDS = 'The sessions concerned were ended.';
/** Failures on one account, from wherever, within a day of each other. */
const MANY_FAILURES = 10;

interface Sign {
  kind: AlertKind;
  userId: string;
  sessionId: string | null;
  userAgent: string | null;
  /** Whether sessions were ended for it. */
  ended: boolean;
}

type AlertDeps = QueueMailDeps;

/** Writes the alert, its audit entry and the mail. */
export async function raiseAlert(
  tx: WriteTransaction,
  deps: AlertDeps,
  sign: Sign,
  actor: Actor,
): Promise<void> {
  const at = deps.clock.now();
  const { kind, userId, sessionId, userAgent, ended } = sign;
  const address = actor.address !== undefined && isIP(actor.address) !== 0 ? actor.address : null;
  await insertAlert(tx, {
    ...{ id: randomUUID(), user_id: userId, session_id: sessionId, kind, at, ended },
    ...{ address, user_agent: userAgent?.slice(0, 256) ?? null },
  });
  await recordAudit(tx, deps.clock, actor, {
    action: 'identity.session.suspected',
    objectType: 'user',
    objectId: userId,
    detail: { sign: kind, sessionId, ended },
  });
  await queueMail(tx, deps, {
    to: { userId },
    template: 'security-notice',
    data: {
      what: ALERT_WORDS[kind],
      ...(ended ? { detail: ENDED_WORDS } : {}),
      at: at.toISOString(),
      ...(address === null ? {} : { address }),
      ...(userAgent === null ? {} : { device: describeBrowser(userAgent) }),
    },
  });
}

/** Called before the new session is written. The first device of a person is none that could surprise. */
export async function alertOfNewDevice(
  tx: WriteTransaction,
  deps: AlertDeps,
  session: Pick<SessionRow, 'id' | 'user_id' | 'user_agent'>,
  actor: Actor,
): Promise<void> {
  const known = await listKnownDevices(tx, session.user_id);
  if (known.length === 0) return;
  if (known.some((one) => !differentBrowsers(one.user_agent, session.user_agent))) return;
  const ended = await endWhereSaid(tx, deps, { user_id: session.user_id });
  const { user_id: userId, id: sessionId, user_agent: userAgent } = session;
  await raiseAlert(tx, deps, { kind: 'new-device', userId, sessionId, userAgent, ended }, actor);
}

/** A session is used from another address than before. @returns whether it was ended for that. */
export async function noteMove(
  tx: WriteTransaction,
  deps: AlertDeps,
  session: SessionRow,
  address: string,
  actor: Actor,
): Promise<boolean> {
  const known = await listKnownDevices(tx, session.user_id);
  if (!(await noteAddress(tx, session.id, address)) || session.seen_address === null) return false;
  const told = await listToldAddresses(tx, session.user_id);
  const networks = [...told, ...known.flatMap((one) => [one.address, one.seen_address])].map(networkOf);
  if (networks.includes(networkOf(address))) return false;
  const ended = await endWhereSaid(tx, deps, { id: session.id });
  const { user_id: userId, id: sessionId, user_agent: userAgent } = session;
  await raiseAlert(tx, deps, { kind: 'new-network', userId, sessionId, userAgent, ended }, actor);
  return ended;
}

/** @param bucket of the account alone, wherever the attempt came from. */
export async function countAccountFailure(
  tx: WriteTransaction,
  deps: AlertDeps,
  bucket: string,
  userId: string | undefined,
  actor: Actor,
): Promise<void> {
  const row = await lockFailures(tx, bucket, deps.clock.now());
  const failures = row.failures + 1;
  await updateFailures(tx, { ...row, failures, last_at: deps.clock.now() });
  if (failures !== MANY_FAILURES || userId === undefined) return;
  const ended = await endWhereSaid(tx, deps, { user_id: userId });
  const kind = 'many-failures' as const;
  await raiseAlert(tx, deps, { kind, userId, sessionId: null, userAgent: null, ended }, actor);
}

async function endWhereSaid(
  tx: WriteTransaction,
  deps: AlertDeps,
  which: { id: string } | { user_id: string },
): Promise<boolean> {
  const { likely_theft_ends: ends } = await getSessionSettings(tx);
  if (ends) await endSessions(tx, which, deps.clock.now(), 'likely-theft');
  return ends;
}

/** What people stay in while they walk about: /24 of IPv4, /48 of IPv6. */
export function networkOf(address: string | null): string {
  const plain = address?.replace(/^::ffff:(?=\d+\.)/i, '') ?? '';
  if (isIPv4(plain)) return plain.split('.').slice(0, 3).join('.');
  if (!isIPv6(plain)) return '';
  const [head = '', tail] = plain.toLowerCase().split('%')[0]?.split('::') ?? [];
  const front = head === '' ? [] : head.split(':');
  const back = tail === undefined || tail === '' ? [] : tail.split(':');
  while (front.length + back.length < 8) front.push('0');
  return [...front, ...back]
    .slice(0, 3)
    .map((part) => Number.parseInt(part, 16).toString(16))
    .join(':');
}
