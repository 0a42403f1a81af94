/** Who counts as an owner or administrator where a second person is asked about them: who is one, and who was one lately. */
import type { Clock } from '../../lib/clock.ts';
import type { Database } from '../../lib/db.ts';
import type { Role } from '../schema.ts';
import { listFormerAdministrators } from './queries.ts';

/** 30 days: otherwise the second person would be got round by giving another role first. */
const REMEMBERED_MS = 30 * 24 * 60 * 60_000;

/** The ids among these who count as one. */
export async function findAdministratorsAmong(
  deps: { db: Database; clock: Clock },
  people: readonly { id: string; role: Role }[],
): Promise<ReadonlySet<string>> {
  const present = people.filter(({ role }) => role === 'owner' || role === 'admin');
  const others = people.filter((person) => !present.includes(person));
  const ids = others.map(({ id }) => id);
  const since = new Date(deps.clock.now().getTime() - REMEMBERED_MS);
  const former = ids.length === 0 ? [] : await listFormerAdministrators(deps.db, ids, since);
  return new Set([...present.map(({ id }) => id), ...former]);
}
