/**
 * While single sign-on is the only way in, nobody but an owner comes in by another, and the other owners hear of it: it is meant for the
 * day on which the provider is away.
 */
import { recordAudit, type Actor } from '../../audit/index.ts';
import type { WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { QueueMailDeps } from '../../mail/index.ts';
import { listOwnerIds } from '../people/queries.ts';
import type { Role, SignInMethod } from '../schema.ts';
import { raiseAlert } from '../sessions/alerts.ts';
import { holdProvider } from './queries.ts';

interface Opening {
  user: { id: string; role: Role };
  methods: readonly SignInMethod[];
  sessionId: string;
  userAgent: string | null;
  /** It takes the place of another session of the person. */
  continues: boolean;
}

/** Asked for each session that opens, by whatever way. @throws HoldfastError `unauthenticated` for anybody but an owner. */
export async function passLocalSignIn(
  tx: WriteTransaction,
  deps: QueueMailDeps,
  { user, methods, sessionId, userAgent, continues }: Opening,
  actor: Actor,
): Promise<void> {
  if (methods.includes('sso') || (await holdProvider(tx))?.only_since == null) return;
  if (user.role !== 'owner')
    throw new HoldfastError('unauthenticated', 'Single sign-on is the only way in', {
      hint: 'Sign in by the provider of your organisation.',
    });
  if (continues) return;
  const self = { ...actor, id: user.id };
  await recordAudit(tx, deps.clock, self, {
    action: 'identity.session.past-single-sign-on',
    objectType: 'session',
    objectId: sessionId,
    detail: { methods: [...methods] },
  });
  const others = (await listOwnerIds(tx)).filter((id) => id !== user.id);
  for (const userId of others) {
    const alert = { kind: 'past-single-sign-on' as const, userId, sessionId: null, userAgent, ended: false };
    await raiseAlert(tx, deps, alert, self);
  }
}
