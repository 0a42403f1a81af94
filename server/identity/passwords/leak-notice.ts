/** A right but leaked password is no reason to keep somebody out: it is told, and stays told until it is changed. */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { queueMail } from '../../mail/index.ts';
import type { PasswordDeps } from '../people/people.ts';
import type { UserRow } from '../people/queries.ts';
import { isLeaked } from './leaked-passwords.ts';
import { notePasswordLeaked } from './queries.ts';

export const LEAKED_BANNER = 'Your password is in a list of leaked passwords, which attackers try first.';

/** @param password that was just found to be right. */
export async function noteLeakedPassword(
  deps: PasswordDeps,
  user: UserRow,
  password: string,
  actor: Actor,
): Promise<void> {
  if (user.password_leaked_at !== null || !(await isLeaked(deps, password))) return;
  await writeTransaction(deps.db, async (tx) => {
    const at = deps.clock.now();
    if (!(await notePasswordLeaked(tx, user.id, at))) return;
    await recordAudit(
      tx,
      deps.clock,
      { ...actor, id: user.id },
      {
        action: 'identity.password.found-leaked',
        objectType: 'user',
        objectId: user.id,
      },
    );
    const what = 'Your password is in a list of leaked passwords';
    const detail =
      'Attackers try such passwords first. Sign in and choose another; nothing else was changed.';
    await queueMail(tx, deps, {
      to: { userId: user.id },
      template: 'security-notice',
      data: { what, detail, at: at.toISOString() },
    });
  });
}
