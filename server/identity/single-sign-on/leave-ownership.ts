/** Somebody stops being an owner while single sign-on is the only way in for everybody else. */
import type { Actor } from '../../audit/index.ts';
import type { WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { removeAllFactors } from '../factors/enrolment.ts';
import type { PeopleDeps } from '../people/people.ts';
import { listOwnerIds } from '../people/queries.ts';
import type { Role } from '../schema.ts';
import { isSingleSignOnOnly, mayKeepFactors } from './local-credentials.ts';
import { findLinkOf, findProvider, hasOwnerWithBoth, removePassword } from './queries.ts';

/**
 * While single sign-on is the only way in, an owner with password and second factor must stay who comes in when the provider is away.
 * Called by whoever holds the owners.
 *
 * @param leaving who is no owner afterwards, or cannot sign in; whoever is none now does not matter.
 * @throws HoldfastError `wrong_state`
 */
export async function keepBreakGlass(tx: WriteTransaction, leaving: readonly string[]): Promise<void> {
  if (!(await isSingleSignOnOnly(tx))) return;
  const owners = await listOwnerIds(tx);
  if (!owners.some((id) => leaving.includes(id))) return;
  if (await hasOwnerWithBoth(tx, leaving)) return;
  throw new HoldfastError(
    'wrong_state',
    'No owner with a password and a second factor here would be left, for when the provider of single sign-on is away',
    { hint: 'Another owner sets both first, or single sign-on is made optional again.' },
  );
}

/**
 * Takes away what only owners have here: the password, and the factors unless the new role must have one and the provider vouches for
 * none.
 *
 * @throws HoldfastError `wrong_state` for somebody who could not come in any more.
 */
export async function leaveOwnership(
  tx: WriteTransaction,
  deps: Pick<PeopleDeps, 'clock'>,
  { userId, role }: { userId: string; role: Role },
  actor: Actor,
): Promise<void> {
  const provider = await findProvider(tx);
  if (provider?.only_since == null) return;
  if ((await findLinkOf(tx, userId))?.issuer !== provider.issuer)
    throw new HoldfastError(
      'wrong_state',
      'This person is not linked with single sign-on and could not sign in any more',
      {
        hint: 'They link themselves on the page Security first.',
      },
    );
  await removePassword(tx, userId);
  if (await mayKeepFactors(tx, role)) return;
  await removeAllFactors(tx, deps, userId, actor);
}
