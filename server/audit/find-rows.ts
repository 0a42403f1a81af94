/** From the filters that somebody chose to the rows that fit them. */
import { isIP } from 'node:net';
import { sqlState, type Database } from '../lib/db.ts';
import type { PageMark } from '../lib/page-mark.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { AuditRow } from './queries.ts';
import { listActions, listEntries } from './search-queries.ts';
import type { AuditFilter } from './schema.ts';

/**
 * Newest first.
 *
 * @param page after which entry, and how many at most.
 * @throws HoldfastError `invalid_input` for an address that is none; `unavailable` when the filters lead through too much of a big log.
 */
export async function findRows(
  db: Database,
  { action, from, to, ...exact }: AuditFilter,
  page: { after: PageMark | undefined; limit: number },
): Promise<AuditRow[]> {
  if (exact.address !== undefined && isIP(exact.address) === 0) {
    throw new HoldfastError('invalid_input', 'This is not an IP address', {
      hint: 'For example 192.0.2.7 or 2001:db8::1.',
    });
  }
  const actions = action === undefined || action === '' ? undefined : await findActions(db, action);
  if (actions?.length === 0) return [];
  try {
    return await listEntries(db, {
      ...exact,
      ...page,
      actions,
      from: from === undefined ? undefined : new Date(from),
      to: to === undefined ? undefined : new Date(to),
    });
  } catch (error) {
    if (sqlState(error) !== '57014') throw error;
    throw new HoldfastError('unavailable', 'This search leads through too much of the log', {
      hint: 'Narrow it: choose a shorter time, or leave out a filter that fits nearly everything.',
      cause: error,
    });
  }
}

/** Names that were written at least once: a log has some hundred, so a part of a name is looked for among them. */
async function findActions(db: Database, wanted: string): Promise<string[]> {
  const all = await listActions(db);
  if (wanted.endsWith('.')) return all.filter((name) => name.startsWith(wanted));
  if (all.includes(wanted)) return [wanted];
  const part = wanted.toLowerCase();
  return all.filter((name) => name.includes(part));
}
