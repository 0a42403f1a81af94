/** A right but leaked password is no reason to keep somebody out: it is told, and stays told until it is changed. */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import type { Logger } from '../../lib/log.ts';
import { queueMail } from '../../mail/index.ts';
import type { PasswordDeps } from '../people/people.ts';
import type { UserRow } from '../people/queries.ts';
import { isLeaked } from './leaked-passwords.ts';
import { notePasswordLeaked } from './queries.ts';

export const LEAKED_BANNER = 'Your password is in a list of leaked passwords, which attackers try first.';

/**
 * A list that cannot be read is told in the log and keeps nobody out, nor does it answer otherwise than for a wrong password. Where a
 * password is set it is an error.
 *
 * @param password that was just found to be right.
 */
export async function noteLeakedPassword(
  deps: PasswordDeps & { log: Pick<Logger, 'warn'> },
  user: UserRow,
  password: string,
  actor: Actor,
): Promise<void> {
  if (user.password_leaked_at !== null) return;
  const leaked = await isLeaked(deps, password).catch((error: unknown) => {
    deps.log.warn({ err: error }, 'A list of leaked passwords cannot be read; a sign-in went on without it');
    return false;
  });
  if (!leaked) return;
  await writeTransaction(deps.db, async (tx) => {
    const at = deps.clock.now();
    if (!(await notePasswordLeaked(tx, user.id, user.password_hash, at))) return;
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
