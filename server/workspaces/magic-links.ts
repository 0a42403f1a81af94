/**
 * Whether members may sign in by a link sent by mail. Each workspace says so for itself, and says no until it is changed; whoever belongs
 * to several may only when all of them allow it, since the weakest way in opens all of them.
 */
import { recordAudit, type Actor } from '../audit/index.ts';
import type { MagicLinkRule } from '../identity/index.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { anyAllowsMagicLinks, listMagicLinksOf, lockWorkspace, updateMagicLinks } from './member-queries.ts';
import type { MembershipDeps } from './membership.ts';

export function magicLinkRule({ db }: { db: Database }): MagicLinkRule {
  return {
    async magicLinksAllowed(within, userId) {
      const allowed = await listMagicLinksOf(within, userId);
      return allowed.length > 0 && allowed.every(Boolean);
    },
    anyMagicLinks: () => anyAllowsMagicLinks(db),
  };
}

/** @throws HoldfastError `not_found` */
export async function setMagicLinks(
  deps: MembershipDeps,
  id: string,
  allowed: boolean,
  actor: Actor,
): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const row = await lockWorkspace(tx, id);
    if (row === undefined) throw new HoldfastError('not_found', 'There is no such workspace');
    if (row.magic_links === allowed) return;
    await updateMagicLinks(tx, id, allowed);
    await recordAudit(tx, deps.clock, actor, {
      action: 'workspaces.magic-links.changed',
      ...{ objectType: 'workspace', objectId: id, workspaceId: id },
      detail: { allowed },
    });
  });
}
