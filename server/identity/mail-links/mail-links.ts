/**
 * Links by mail. Guarantees: 256 random bits, kept as SHA-256, in the fragment of the address, which browsers do not send; each works
 * once. Who asks for one gets the same answer, after the same work, whoever has that address: it is written down, and looked at when
 * the answer has left.
 */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { mailState, queueMail } from '../../mail/index.ts';
import { countFactors, isKnownAddress, membersNeedSecondFactor } from '../factors/queries.ts';
import { needsSecondFactor } from '../factors/methods.ts';
import { emailHashOf, ensureEmailIndex, type PasswordDeps } from '../people/people.ts';
import { findUserByEmailHash, isEmailIndexWhole, type UserRow } from '../people/queries.ts';
import type { Role } from '../schema.ts';
import { describeBrowser } from '../sessions/browser.ts';
import { newSessionToken, sessionTokenHash } from '../sessions/session-cookie.ts';
import { secondWays } from '../sign-in/pending-sign-in.ts';
import { mayKeepCredentials } from '../single-sign-on/local-credentials.ts';
import { takeAccountTurn, takeNetworkTurn } from './mail-budget.ts';
import { deleteOldLinks, insertAsk, insertLink, takeAsk, type AskRow } from './queries.ts';
import type { LinkKind } from './schema.ts';

/** What of workspaces decides here: they are to the right of this module. */
export interface MagicLinkRule {
  /** Whether a member may sign in by a link: every workspace that they belong to allows it, and there is one. */
  magicLinksAllowed(db: Database, userId: string): Promise<boolean>;
  /** Whether any workspace allows it, for the sign-in page. */
  anyMagicLinks(): Promise<boolean>;
}

export type LinkDeps = PasswordDeps & MagicLinkRule;

export const LINK_MINUTES: Record<LinkKind, number> = {
  'password-reset': 30,
  'magic-link': 10,
  'email-change': 24 * 60,
};
const MINUTE_MS = 60_000;
/** Older ones are of before a stop of the appliance, and nobody waits for them any more. */
const STALE_MS = 10 * MINUTE_MS;

interface Ask {
  kind: 'password-reset' | 'magic-link';
  email: string;
  origin: string;
  userAgent: string | undefined;
  /** Of the browser that asked; only magic links are bound to it. */
  browserToken?: string;
}

/**
 * Writes down that somebody asked. The same for every address.
 *
 * @throws HoldfastError `wrong_state` where no mail can be sent, `too_many_requests` for a network that asks too often.
 */
export async function askForLink(deps: LinkDeps, ask: Ask, actor: Actor): Promise<void> {
  await requireMail(deps);
  const emailHash = await emailHashOf(deps, ask.email);
  const { kind, origin, userAgent, browserToken } = ask;
  await writeTransaction(deps.db, async (tx) => {
    await takeNetworkTurn(tx, deps.clock, actor.address);
    await insertAsk(tx, {
      ...{ id: randomUUID(), kind, email_hash: emailHash, origin, asked_at: deps.clock.now() },
      browser_hash: browserToken === undefined ? null : sessionTokenHash(browserToken),
      user_agent: userAgent?.slice(0, 256) ?? null,
      ...{ address: actor.address ?? null, request_id: actor.requestId ?? null },
    });
  });
  crashPoint('identity.mail-link.asked');
}

/** Sends what was asked for, as far as there is somebody to send it to. @returns how many asked. */
export async function answerAsks(deps: LinkDeps): Promise<number> {
  await ensureEmailIndex(deps);
  let answered = 0;
  while (await writeTransaction(deps.db, (tx) => answerOne(tx, deps))) answered += 1;
  return answered;
}

async function answerOne(tx: WriteTransaction, deps: LinkDeps): Promise<boolean> {
  await deleteOldLinks(tx, deps.clock.now());
  const ask = await takeAsk(tx);
  if (ask === undefined) return false;
  // Lost with a crash this instant: it is answered when the index is whole again.
  if (!(await isEmailIndexWhole(tx)))
    throw new HoldfastError('unavailable', 'The index of addresses was lost');
  const user = await findUserByEmailHash(tx, ask.email_hash);
  const stale = deps.clock.now().getTime() - ask.asked_at.getTime() > STALE_MS;
  if (user?.disabled_at !== null || stale || !(await isAllowed(tx, deps, ask, user))) return true;
  const known = ask.address !== null && (await isKnownAddress(tx, user.id, ask.address));
  const asking = { kind: ask.kind, key: ask.email_hash, address: ask.address ?? undefined };
  if (!(await takeAccountTurn(tx, deps.clock, asking, known))) return true;
  if (ask.kind === 'password-reset' && (await lacksFactor(tx, user)))
    await tellOfNoReset(tx, deps, user, ask);
  else await sendLink(tx, deps, user, ask);
  return true;
}

async function isAllowed(tx: WriteTransaction, deps: LinkDeps, ask: AskRow, user: UserRow): Promise<boolean> {
  const role = user.role as Role;
  if (ask.kind === 'password-reset') return mayKeepCredentials(tx, role);
  if (role !== 'member' || !(await mayKeepCredentials(tx, role))) return false;
  return deps.magicLinksAllowed(tx, user.id);
}

/** Somebody who must have a second factor and has none could be anybody who reads the mailbox. */
export async function lacksFactor(tx: WriteTransaction, user: UserRow): Promise<boolean> {
  if (!needsSecondFactor(user.role as Role, await membersNeedSecondFactor(tx))) return false;
  return secondWays(await countFactors(tx, user.id)).length === 0;
}

async function sendLink(tx: WriteTransaction, deps: LinkDeps, user: UserRow, ask: AskRow): Promise<void> {
  const kind = ask.kind as 'password-reset' | 'magic-link';
  const link = await makeLink(tx, deps, {
    kind,
    userId: user.id,
    origin: ask.origin,
    browserHash: ask.browser_hash,
  });
  const from = {
    ...(ask.address === null ? {} : { address: ask.address }),
    ...(ask.user_agent === null ? {} : { device: describeBrowser(ask.user_agent) }),
  };
  const data = { url: link.url, until: link.expiresAt.toISOString(), ...from };
  await queueMail(tx, deps, { to: { userId: user.id }, template: kind, data, expiresAt: link.expiresAt });
  await recordAsked(tx, deps, ask, user.id);
}

async function tellOfNoReset(
  tx: WriteTransaction,
  deps: LinkDeps,
  user: UserRow,
  ask: AskRow,
): Promise<void> {
  const data = {
    what: 'Your password cannot be reset by mail',
    detail:
      'Somebody asked for it. Your account must have a second factor and has none yet, so a mailbox is not enough. Ask an owner; the only owner uses holdfast recover-owner on the console.',
    at: deps.clock.now().toISOString(),
    ...(ask.address === null ? {} : { address: ask.address }),
  };
  await queueMail(tx, deps, { to: { userId: user.id }, template: 'security-notice', data });
  await recordAsked(tx, deps, ask, user.id);
}

async function recordAsked(tx: WriteTransaction, deps: LinkDeps, ask: AskRow, userId: string): Promise<void> {
  const actor: Actor = {
    kind: 'user',
    ...(ask.address === null ? {} : { address: ask.address }),
    ...(ask.request_id === null ? {} : { requestId: ask.request_id }),
  };
  await recordAudit(tx, deps.clock, actor, {
    action: `identity.${ask.kind}.requested`,
    objectType: 'user',
    objectId: userId,
  });
}

const PAGES: Record<LinkKind, string> = {
  'password-reset': '/reset-password',
  'magic-link': '/sign-in-link',
  'email-change': '/confirm-address',
};

/** Writes a link. @returns its address with the token, which is kept nowhere else. */
export async function makeLink(
  tx: WriteTransaction,
  deps: Pick<LinkDeps, 'clock'>,
  link: {
    kind: LinkKind;
    userId: string;
    origin: string;
    id?: string;
    browserHash?: Buffer | null;
    emailSealed?: Buffer;
  },
): Promise<{ url: string; expiresAt: Date }> {
  const now = deps.clock.now();
  const token = newSessionToken();
  const expiresAt = new Date(now.getTime() + LINK_MINUTES[link.kind] * MINUTE_MS);
  await insertLink(tx, {
    ...{ id: link.id ?? randomUUID(), kind: link.kind, token_hash: sessionTokenHash(token) },
    ...{ user_id: link.userId, created_at: now, expires_at: expiresAt },
    ...{ browser_hash: link.browserHash ?? null, email_sealed: link.emailSealed ?? null },
  });
  return { url: `${link.origin}${PAGES[link.kind]}#${token}`, expiresAt };
}

/** @throws HoldfastError `wrong_state` */
export async function requireMail(deps: Pick<LinkDeps, 'db'>): Promise<void> {
  if ((await mailState(deps.db)).sends) return;
  throw new HoldfastError('wrong_state', 'This appliance cannot send mail', {
    hint: 'Ask an owner: they can make a link for you.',
  });
}

export function unusableLink(hint: string): HoldfastError {
  return new HoldfastError('not_found', 'This link cannot be used any more', { hint });
}
