/** What a signed-in person began at the provider: linking themself, or proving again who they are. */
import { recordAudit } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Person } from '../access.ts';
import type { PersonLifeDeps } from '../people/person-life.ts';
import { updateProof } from '../sessions/queries.ts';
import { isStillSignedIn } from '../sessions/sessions.ts';
import { secondWaysOf } from '../sign-in/pending-sign-in.ts';
import { beginAttempt, endAttempt, type BegunAttempt, type Returned, type TakenAttempt } from './attempts.ts';
import { refused } from './enter.ts';
import { linkSelf, subjectHashOf } from './links.ts';
import { CLOCK_TOLERANCE_S } from './provider.ts';
import { findLinkBySubject, findLinkOf } from './queries.ts';
import { readIdentity, type ProviderIdentity } from './read-identity.ts';
import { SingleSignOnRefusal } from './refusal.ts';

/** @throws HoldfastError `wrong_state` when the person is linked already. */
export async function beginLink(deps: PersonLifeDeps, person: Person, origin: string): Promise<BegunAttempt> {
  if ((await findLinkOf(deps.db, person.userId)) !== undefined)
    throw new HoldfastError('wrong_state', 'Your account is linked already', {
      hint: 'Take that link away first.',
    });
  return beginAttempt(deps, { kind: 'link', person }, origin);
}

/** @throws HoldfastError `wrong_state` when the person is not linked. */
export async function beginProof(
  deps: PersonLifeDeps,
  person: Person,
  origin: string,
): Promise<BegunAttempt> {
  if ((await findLinkOf(deps.db, person.userId)) === undefined)
    throw new HoldfastError('wrong_state', 'Your account is not linked with single sign-on');
  return beginAttempt(deps, { kind: 'proof', person }, origin);
}

/** @throws HoldfastError `forbidden`, the same for every reason. */
export async function finishOwn(
  deps: PersonLifeDeps,
  person: Person,
  returned: Returned,
): Promise<'linked' | 'proven'> {
  try {
    const attempt = await endAttempt(deps, returned, ['link', 'proof']);
    const { row } = attempt;
    if (row.user_id !== person.userId || row.session_id !== person.sessionId)
      throw new SingleSignOnRefusal('not-signed-in');
    const identity = await readIdentity(deps, attempt, returned);
    if (row.purpose === 'link') {
      await linkSelf(deps, person, identity, returned);
      return 'linked';
    }
    await takeProof(deps, person, identity, { attempt, returned });
    return 'proven';
  } catch (error) {
    throw await refused(deps, error, returned.actor, 'forbidden');
  }
}

async function takeProof(
  deps: PersonLifeDeps,
  person: Person,
  identity: ProviderIdentity,
  { attempt, returned }: { attempt: TakenAttempt; returned: Returned },
): Promise<void> {
  const hash = await subjectHashOf(deps, identity.provider.issuer, identity.subject);
  const link = await findLinkBySubject(deps.db, hash);
  if (link?.user_id !== person.userId)
    throw new SingleSignOnRefusal('another-account', { userId: person.userId });
  const since = attempt.row.created_at.getTime() / 1000 - CLOCK_TOLERANCE_S;
  if (identity.authenticatedAt === undefined || identity.authenticatedAt < since)
    throw new SingleSignOnRefusal('not-fresh', { userId: person.userId });
  // Whoever has a factor here gives that, unless the provider vouches for one of its own.
  if (!identity.strong && (await secondWaysOf(deps, person.userId)).length > 0)
    throw new HoldfastError('invalid_input', 'Your second factor is asked for here, not single sign-on', {
      hint: 'Give the passkey, a code of the authenticator app, or a recovery code.',
    });
  await writeTransaction(deps.db, async (tx) => {
    if (!(await isStillSignedIn(deps, person, tx))) throw new SingleSignOnRefusal('not-signed-in');
    const proven = identity.strong ? (['sso', 'sso-second-factor'] as const) : (['sso'] as const);
    await updateProof(tx, person.sessionId, deps.clock.now(), [...new Set([...person.methods, ...proven])]);
    await recordAudit(tx, deps.clock, returned.actor, {
      action: 'identity.session.proven',
      objectType: 'session',
      objectId: person.sessionId,
      detail: { method: 'sso' },
    });
  });
}
