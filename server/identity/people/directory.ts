/**
 * The list of people. Names and addresses are sealed, so searching and sorting open all of them: bounded, and quick for some
 * thousands, because keys once fetched from keyd stay derived in this process.
 */
import { HoldfastError } from '../../lib/errors.ts';
import { listTeamsOfPeople } from '../teams/teams.ts';
import {
  allUserRows,
  getPerson,
  normaliseEmail,
  openPeople,
  type ListedPerson,
  type PeopleDeps,
} from './people.ts';
import { findAdministratorsAmong } from './administrators.ts';
import { needsSecondFactor } from '../factors/methods.ts';
import { listWaysOf, membersNeedSecondFactor } from '../factors/queries.ts';
import { countByRole, findUser, getPeopleSettings, listLastSeen } from './queries.ts';
import type { PeoplePage, PeopleQuery, PersonEntry } from './schema.ts';

/** More than this many are not searched in one request. */
const MOST_PEOPLE = 20_000;
const OWNERS_ADVISED = 2;

/** @throws HoldfastError `too_large` beyond 20,000 people. */
export async function listDirectory(deps: PeopleDeps, query: PeopleQuery): Promise<PeoplePage> {
  const { offset = 0, limit = 50 } = query;
  const [people, seen] = [await openEverybody(deps), await listLastSeen(deps.db)];
  const wanted = people.filter((person) => matches(person, query));
  wanted.sort(comparison(query, seen));
  const page = wanted.slice(offset, offset + limit);
  return {
    items: await describePeople(deps, page, seen),
    total: wanted.length,
    warnings: await listWarnings(deps),
  };
}

/** @throws HoldfastError `not_found` */
export async function showPerson(deps: PeopleDeps, id: string): Promise<PersonEntry> {
  const row = await findUser(deps.db, id);
  if (row === undefined) await getPerson(deps, id);
  const [person] = row === undefined ? [] : await openPeople(deps, [row]);
  if (person === undefined) throw new HoldfastError('not_found', 'There is no such person');
  const seen = await listLastSeen(deps.db, id);
  const [entry] = await describePeople(deps, [person], seen);
  if (entry === undefined) throw new HoldfastError('internal', 'The person was not described');
  return entry;
}

async function openEverybody(deps: PeopleDeps): Promise<ListedPerson[]> {
  const people: ListedPerson[] = [];
  for await (const rows of allUserRows(deps)) {
    people.push(...(await openPeople(deps, rows)));
    if (people.length > MOST_PEOPLE)
      throw new HoldfastError('too_large', `More than ${MOST_PEOPLE} people cannot be listed at once`);
  }
  return people;
}

function matches(person: ListedPerson, { search = '', role, state }: PeopleQuery): boolean {
  if (role !== undefined && person.role !== role) return false;
  if (state !== undefined && person.disabled !== (state === 'deactivated')) return false;
  const needle = normaliseEmail(search);
  return [person.name, person.email].some((text) => normaliseEmail(text).includes(needle));
}

const ROLE_ORDER = ['owner', 'admin', 'auditor', 'member'];

function comparison(
  { sort = 'name', order = 'asc' }: PeopleQuery,
  seen: ReadonlyMap<string, Date>,
): (a: ListedPerson, b: ListedPerson) => number {
  const keyOf = (person: ListedPerson): string => {
    if (sort === 'email') return person.email;
    if (sort === 'role') return String(ROLE_ORDER.indexOf(person.role));
    if (sort === 'created') return person.createdAt;
    if (sort === 'seen') return seen.get(person.id)?.toISOString() ?? '';
    return person.name;
  };
  const sign = order === 'asc' ? 1 : -1;
  const words = new Intl.Collator('en', { sensitivity: 'base', numeric: true });
  return (a, b) =>
    sign * words.compare(keyOf(a), keyOf(b)) || words.compare(a.name, b.name) || (a.id < b.id ? -1 : 1);
}

async function listWarnings(deps: Pick<PeopleDeps, 'db'>): Promise<PeoplePage['warnings']> {
  const counts = await countByRole(deps.db);
  const [owners, admins] = [counts.get('owner') ?? 0, counts.get('admin') ?? 0];
  const { admins_advised: advised } = await getPeopleSettings(deps.db);
  const warnings: PeoplePage['warnings'] = [];
  if (owners < OWNERS_ADVISED)
    warnings.push({
      kind: 'few-owners',
      message:
        'There is only one owner. If that person is lost, nobody can manage people and keys until somebody gets in at the console. Make another owner.',
    });
  if (admins > advised)
    warnings.push({
      kind: 'many-admins',
      message: `There are ${admins} administrators; at most ${advised} are advised. See who still needs that role.`,
    });
  return warnings;
}

async function describePeople(
  deps: PeopleDeps,
  people: readonly ListedPerson[],
  seen: ReadonlyMap<string, Date>,
): Promise<PersonEntry[]> {
  const ids = people.map(({ id }) => id);
  const [teams, ways, membersNeed, administrators] = [
    await listTeamsOfPeople(deps, ids),
    await listWaysOf(deps.db, ids),
    await membersNeedSecondFactor(deps.db),
    await findAdministratorsAmong(deps, people),
  ];
  return people.map(({ disabled, ...person }) => {
    const { password = false, ...factors } = ways.get(person.id) ?? {};
    return {
      ...person,
      state: disabled ? 'deactivated' : 'active',
      lastSeenAt: seen.get(person.id)?.toISOString() ?? null,
      teams: teams.get(person.id) ?? [],
      password,
      secondFactors: {
        ...{ ...NO_FACTORS, ...factors },
        required: needsSecondFactor(person.role, membersNeed),
        needsApproval: administrators.has(person.id),
      },
    };
  });
}

const NO_FACTORS = { authenticatorApp: false, passkeys: 0, recoveryCodes: 0 };
