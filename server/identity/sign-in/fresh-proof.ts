/** Dangerous acts ask for a proof of the last minutes (OWASP ASVS 5.0, 7.5.3): somebody may have walked away from an open session. */
import { HoldfastError } from '../../lib/errors.ts';
import type { Person } from '../access.ts';
import { getSessionSettings } from '../sessions/queries.ts';
import type { SessionDeps } from '../sessions/sessions.ts';

const MINUTE_MS = 60_000;

/** @throws HoldfastError `step_up_required` when the last proof is too old. A clock that went back makes it so too. */
export async function requireFreshProof(
  deps: SessionDeps,
  person: Pick<Person, 'authenticatedAt'>,
): Promise<void> {
  const { proof_minutes: minutes } = await getSessionSettings(deps.db);
  const age = deps.clock.now().getTime() - person.authenticatedAt.getTime();
  if (age > -MINUTE_MS && age <= minutes * MINUTE_MS) return;
  throw new HoldfastError('step_up_required', 'Prove again that it is you', {
    hint: 'POST /session/proof takes your password or second factor; then repeat the request.',
  });
}
