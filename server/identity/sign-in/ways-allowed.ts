/** Who may come in by something that is kept here, a password or a mailbox: the one place that decides it. */
import type { Database } from '../../lib/db.ts';
import type { Role } from '../schema.ts';

/** Roles that come in by another way alone. */
const ELSEWHERE: ReadonlySet<Role> = new Set();

export function maySignInLocally(_db: Database, role: Role): Promise<boolean> {
  return Promise.resolve(!ELSEWHERE.has(role));
}
