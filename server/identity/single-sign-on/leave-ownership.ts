/** Somebody stops being an owner while single sign-on is the only way in for everybody else. */
import type { Actor } from '../../audit/index.ts';
import type { WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { removeAllFactors } from '../factors/enrolment.ts';
import type { PeopleDeps } from '../people/people.ts';
import { isSingleSignOnOnly } from './local-credentials.ts';
import { findLinkOf, removePassword } from './queries.ts';

/** Takes away what only owners have here. @throws HoldfastError `wrong_state` for somebody who could not come in any more. */
export async function leaveOwnership(
  tx: WriteTransaction,
  deps: Pick<PeopleDeps, 'clock'>,
  userId: string,
  actor: Actor,
): Promise<void> {
  if (!(await isSingleSignOnOnly(tx))) return;
  if ((await findLinkOf(tx, userId)) === undefined)
    throw new HoldfastError(
      'wrong_state',
      'This person is not linked with single sign-on and could not sign in any more',
      {
        hint: 'They link themselves on the page Security first.',
      },
    );
  await removePassword(tx, userId);
  await removeAllFactors(tx, deps, userId, actor);
}
