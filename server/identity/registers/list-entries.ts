/** Entries as people see them, and in which state each is. All are opened to be searched and sorted: names and words are sealed. */
import { namePeople, normaliseEmail, type PeopleDeps } from '../people/people.ts';
import { listUsersByIds } from '../people/queries.ts';
import { openEntryWords } from './entry-words.ts';
import { getRegisterSettings, listEntryRows, type EntryRow } from './queries.ts';
import type { EntryState, RegisterEntry, RegisterKind, RegisterPage, RegisterQuery } from './schema.ts';

export type RegisterDeps = Pick<PeopleDeps, 'db' | 'clock' | 'sealer'>;

const DAY_MS = 86_400_000;

export const dayOf = (at: Date): string => at.toISOString().slice(0, 10);

/** Of everybody, or of one person, in no order. */
export async function openEntries(deps: RegisterDeps, userId?: string): Promise<RegisterEntry[]> {
  const rows = await listEntryRows(deps.db, userId);
  const ids = [...new Set(rows.map((row) => row.user_id))];
  const users = new Map((await listUsersByIds(deps.db, ids)).map((user) => [user.id, user]));
  const people = await namePeople(deps, ids);
  const words = await openEntryWords(
    deps,
    rows.map((row) => ({
      ...{ id: row.id, sealed: row.words_sealed },
      subjectKeyId: users.get(row.user_id)?.subject_key_id ?? '',
    })),
  );
  const { remind_days: remindDays } = await getRegisterSettings(deps.db);
  const now = deps.clock.now();
  const items = rows.map((row, index): RegisterEntry => {
    const person = people.get(row.user_id);
    const { what = '', reference = '', note = '' } = words[index] ?? {};
    const here = person?.disabled === false;
    return {
      ...{ id: row.id, kind: row.kind as RegisterKind, what, reference, note },
      person: { id: row.user_id, name: person?.name ?? '', email: person?.email ?? '', here },
      ...{ doneOn: row.done_on, dueOn: row.due_on, version: row.version },
      state: here ? stateOf(row, now, remindDays) : 'left',
      ...{ createdAt: row.created_at.toISOString(), changedAt: row.changed_at.toISOString() },
    };
  });
  return markReplaced(items);
}

function stateOf({ done_on: doneOn, due_on: dueOn }: EntryRow, now: Date, remindDays: number): EntryState {
  if (dueOn !== null && dueOn < dayOf(now)) return 'overdue';
  if (dueOn !== null && dueOn <= dayOf(new Date(now.getTime() + remindDays * DAY_MS))) return 'soon';
  return doneOn === null ? 'due' : 'done';
}

/** Of the same thing for the same person only the last counts: a training that was done again is not overdue. */
function markReplaced(items: readonly RegisterEntry[]): RegisterEntry[] {
  const keyOf = ({ person, kind, what }: RegisterEntry) =>
    `${person.id} ${kind} ${what.normalize('NFKC').toLowerCase().trim()}`;
  const alike = Map.groupBy(items, keyOf);
  return items.map((item) => {
    if (item.state === 'left') return item;
    const since = item.doneOn ?? item.createdAt.slice(0, 10);
    const again = (alike.get(keyOf(item)) ?? []).some(
      (other) =>
        other !== item &&
        other.doneOn !== null &&
        (item.doneOn === null ? other.doneOn >= since : other.doneOn > since),
    );
    return again ? { ...item, state: 'replaced' } : item;
  });
}

export async function listRegister(deps: RegisterDeps, query: RegisterQuery): Promise<RegisterPage> {
  const all = await openEntries(deps, query.person);
  const wanted = findEntries(all, query);
  const { offset = 0, limit = 50 } = query;
  return {
    items: wanted.slice(offset, offset + limit),
    total: wanted.length,
    overdue: all.filter((item) => item.state === 'overdue').length,
  };
}

export function findEntries(items: readonly RegisterEntry[], query: RegisterQuery): RegisterEntry[] {
  const { search = '', kind, state, sort = 'due', order = 'asc' } = query;
  const needle = normaliseEmail(search);
  const found = items.filter((item) => {
    if (kind !== undefined && item.kind !== kind) return false;
    if (state !== undefined && item.state !== state) return false;
    const { person, what, reference, note } = item;
    return [person.name, person.email, what, reference, note].some((text) =>
      normaliseEmail(text).includes(needle),
    );
  });
  const keyOf = (item: RegisterEntry): string => {
    if (sort === 'person') return item.person.name;
    if (sort === 'done') return item.doneOn ?? '';
    // What never runs out comes last.
    if (sort === 'due') return item.dueOn ?? '9999';
    return item[sort];
  };
  const words = new Intl.Collator('en', { sensitivity: 'base', numeric: true });
  const sign = order === 'asc' ? 1 : -1;
  return found.sort(
    (a, b) =>
      sign * words.compare(keyOf(a), keyOf(b)) ||
      words.compare(a.person.name, b.person.name) ||
      (a.id < b.id ? -1 : 1),
  );
}
