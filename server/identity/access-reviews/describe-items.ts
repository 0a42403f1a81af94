/** Items of a review as somebody sees them: with names, with what has changed since, and with what this person may decide. */
import { HoldfastError } from '../../lib/errors.ts';
import type { Person } from '../access.ts';
import { openPeople, namePeople, type ListedPerson, type SealedPerson } from '../people/people.ts';
import { listLastSeen, listOwnerIds } from '../people/queries.ts';
import { hasRight, ROLE_WORDS } from '../rights.ts';
import { nameTeams } from '../teams/teams.ts';
import { collectAccess, type AccessThing, type ReviewDeps } from './collect-access.ts';
import { findReview, listItemRows, listTeammates, type ItemRow, type ReviewRow } from './queries.ts';
import type { Decision, Facts, ReviewItem } from './schema.ts';

/** Who looks, and what they may see and decide. */
export interface Viewer {
  userId: string;
  /** Decides about everything. */
  owner: boolean;
  /** Sees all of it; else only the members of workspaces that they manage. */
  seesAll: boolean;
  managed: ReadonlySet<string>;
  owners: readonly string[];
  managersOf: ReadonlyMap<string, readonly string[]>;
  /** Who is in each team that they are in. */
  teammates: ReadonlyMap<string, readonly string[]>;
}

export async function findViewer(deps: ReviewDeps, person: Pick<Person, 'userId' | 'role'>): Promise<Viewer> {
  const managers = await deps.workspaces.listManagers(deps.db);
  const own = managers.filter(({ userId }) => userId === person.userId);
  const byWorkspace = Map.groupBy(managers, (one) => one.workspaceId);
  return {
    userId: person.userId,
    owner: hasRight(person.role, 'people.manage'),
    seesAll: hasRight(person.role, 'people.read'),
    managed: new Set(own.map(({ workspaceId }) => workspaceId)),
    owners: await listOwnerIds(deps.db),
    managersOf: new Map([...byWorkspace].map(([id, rows]) => [id, rows.map(({ userId }) => userId)])),
    teammates: await listTeammates(deps.db, person.userId),
  };
}

export function maySee(viewer: Viewer, item: Pick<ItemRow, 'kind' | 'workspace_id'>): boolean {
  return viewer.seesAll || (item.kind === 'workspace' && viewer.managed.has(item.workspace_id ?? ''));
}

/** Why this person does not decide about an item; undefined when they do. Nobody decides what they have themselves or by a team. */
export function findObjection(
  viewer: Viewer,
  item: Pick<ItemRow, 'kind' | 'user_id' | 'team_id' | 'workspace_id'>,
): string | undefined {
  const ofWorkspace = item.kind === 'workspace';
  const manages = ofWorkspace && viewer.managed.has(item.workspace_id ?? '');
  if (!viewer.owner && !manages)
    return ofWorkspace ? 'An owner or a manager of the workspace decides' : 'An owner decides';
  const holders = item.user_id === null ? (viewer.teammates.get(item.team_id ?? '') ?? []) : [item.user_id];
  if (!holders.includes(viewer.userId)) return undefined;
  const deciders = [
    ...viewer.owners,
    ...(ofWorkspace ? (viewer.managersOf.get(item.workspace_id ?? '') ?? []) : []),
  ];
  if (deciders.every((id) => holders.includes(id))) return undefined;
  return item.user_id === null
    ? 'It is of a team that you are in: somebody else decides'
    : 'It is your own: somebody else decides';
}

/** What can be decided about an item, whoever it is. */
export function decisionsFor(
  item: Pick<ItemRow, 'kind' | 'decision'>,
  live: AccessThing | undefined,
): Decision[] {
  if (item.decision === 'change' || item.decision === 'remove') return [];
  const fitting: Decision[] = ['keep'];
  if (live !== undefined) {
    if (item.kind === 'account' || item.kind === 'workspace') fitting.push('change');
    if (live.facts.state !== 'deactivated') fitting.push('remove');
  }
  return fitting.filter((one) => one !== item.decision);
}

export function versionOf(item: Pick<ItemRow, 'decision'>, live: AccessThing | undefined): string {
  return `${live?.fingerprint ?? 'gone'}.${item.decision ?? ''}`;
}

/** @throws HoldfastError `not_found`, also when nothing of it is for this person. */
export async function openReview(
  deps: ReviewDeps,
  viewer: Viewer,
  id: string,
): Promise<{ review: ReviewRow; rows: ItemRow[]; visible: ItemRow[] }> {
  const review = await findReview(deps.db, id);
  const rows = review === undefined ? [] : await listItemRows(deps.db, id);
  const visible = rows.filter((row) => maySee(viewer, row));
  if (review === undefined || (!viewer.seesAll && visible.length === 0)) throw noSuchReview();
  return { review, rows, visible };
}

/** In the order of persons, then of what they have. */
export async function describeItems(
  deps: ReviewDeps,
  viewer: Viewer,
  { review, rows, visible }: { review: ReviewRow; rows: readonly ItemRow[]; visible: readonly ItemRow[] },
): Promise<ReviewItem[]> {
  const open = review.state === 'open';
  const live = open ? await collectAccess(deps, deps.db, await listLastSeen(deps.db)) : undefined;
  const names = await readNames(deps, rows, visible);
  const items = visible.map((row) => toItem(row, viewer, live, names));
  const words = new Intl.Collator('en', { sensitivity: 'base', numeric: true });
  const place = (item: ReviewItem) => item.person?.name ?? item.team?.name ?? '';
  return items.sort(
    (a, b) =>
      words.compare(place(a), place(b)) ||
      (a.person?.id ?? '').localeCompare(b.person?.id ?? '') ||
      KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) ||
      words.compare(a.workspace?.name ?? '', b.workspace?.name ?? ''),
  );
}

export const KINDS = ['account', 'team', 'workspace', 'api-key'];

interface Names {
  people: ReadonlyMap<string, ListedPerson>;
  deciders: ReadonlyMap<string, ListedPerson>;
  teams: ReadonlyMap<string, string>;
  workspaces: ReadonlyMap<string, string>;
  notes: ReadonlyMap<string, string>;
}

/** People by the names that they had when the review began, others by those they have. */
export async function readNames(
  deps: ReviewDeps,
  rows: readonly ItemRow[],
  visible: readonly ItemRow[],
): Promise<Names> {
  const pick = (of: (row: ItemRow) => string | null) => [...new Set(visible.flatMap((row) => of(row) ?? []))];
  const accounts = rows.flatMap((row) => asUser(row) ?? []);
  const frozen = await openPeople(deps, accounts);
  return {
    people: new Map(frozen.map((person) => [person.id, person])),
    deciders: await namePeople(
      deps,
      pick((row) => row.decided_by),
    ),
    teams: await nameTeams(
      deps,
      pick((row) => row.team_id),
    ),
    workspaces: await deps.workspaces.name(
      deps.db,
      pick((row) => row.workspace_id),
    ),
    notes: await openNotes(deps, visible),
  };
}

/** The row of a person as the review kept it. */
function asUser(row: ItemRow): SealedPerson | undefined {
  if (row.kind !== 'account' || row.name_sealed === null || row.email_sealed === null) return undefined;
  const { user_id: id, subject_key_id: keyId, name_sealed, email_sealed } = row;
  const parts = { id: id ?? '', subject_key_id: keyId ?? '', name_sealed, email_sealed };
  return { ...parts, role: 'member', created_at: new Date(0), disabled_at: null };
}

function toItem(
  row: ItemRow,
  viewer: Viewer,
  live: ReadonlyMap<string, AccessThing> | undefined,
  names: Names,
): ReviewItem {
  const now = live?.get(row.thing);
  const facts = row.facts as Facts;
  const changes = live === undefined ? [] : listChanges(row, now);
  const objection = live === undefined ? 'The review is over' : findObjection(viewer, row);
  const can = live === undefined || objection !== undefined ? [] : decisionsFor(row, now);
  const person = names.people.get(row.user_id ?? '');
  const named = (id: string | null, list: ReadonlyMap<string, string>) =>
    id === null ? null : { id, name: list.get(id) ?? '(gone)' };
  return {
    ...{ id: row.id, kind: row.kind as ReviewItem['kind'], facts, changes, can },
    person:
      row.user_id === null
        ? null
        : { id: row.user_id, name: person?.name ?? '(gone)', email: person?.email ?? '' },
    team: named(row.team_id, names.teams),
    workspace: named(row.workspace_id, names.workspaces),
    keyId: row.key_id,
    unchanged: row.kept_before && changes.length === 0,
    decision: toDecision(row, names),
    whyNot: can.length > 0 ? null : (objection ?? 'It is decided'),
    version: live === undefined ? '' : versionOf(row, now),
  };
}

function toDecision(row: ItemRow, names: Names): ReviewItem['decision'] {
  if (row.decision === null || row.decided_at === null) return null;
  const by = row.decided_by ?? '';
  return {
    ...{ decision: row.decision as Decision, at: row.decided_at.toISOString() },
    by: { id: by, name: names.deciders.get(by)?.name ?? '' },
    ...{ note: names.notes.get(row.id) ?? '', outcome: row.outcome ?? '', inBulk: row.in_bulk },
    auditEntries: row.audit_ids,
  };
}

/** What is different from what the review began with, and was not decided here. */
export function listChanges(
  row: Pick<ItemRow, 'facts' | 'decision' | 'fingerprint'>,
  now?: AccessThing,
): string[] {
  if (row.decision === 'remove' || row.decision === 'change' || now?.fingerprint === row.fingerprint)
    return [];
  if (now === undefined) return ['It is gone meanwhile'];
  const [before, after] = [row.facts as Facts, now.facts];
  const words: string[] = [];
  const tell = (what: string, from: string, to: string) => {
    if (from !== to) words.push(`${what}: was ${from}, is now ${to}`);
  };
  const list = (values: readonly string[] = []) => (values.length === 0 ? 'none' : values.join(', '));
  if (before.role !== undefined && after.role !== undefined)
    tell('Role', ROLE_WORDS[before.role].title, ROLE_WORDS[after.role].title);
  tell('State', before.state ?? '', after.state ?? '');
  tell('Second factors', list(before.factors), list(after.factors));
  tell('Level', before.level ?? '', after.level ?? '');
  tell('Name', before.name ?? '', after.name ?? '');
  tell('Rights', list(before.rights), list(after.rights));
  tell('Networks', list(before.networks), list(after.networks));
  return words;
}

export const noteContext = (id: string) => ({
  ...{ type: 'access-review-note', workspaceId: '', subjectId: '', objectId: id, version: '' },
});

async function openNotes(deps: ReviewDeps, rows: readonly ItemRow[]): Promise<Map<string, string>> {
  const { id: keyId } = await deps.keys.applianceKey();
  const noted = rows.flatMap(({ id, note_sealed: sealed }) => (sealed === null ? [] : [{ id, sealed }]));
  const opened = await deps.sealer.tryOpen(
    noted.map(({ id, sealed }) => ({ keyId, purpose: 'secrets' as const, context: noteContext(id), sealed })),
  );
  return new Map(
    noted.map(({ id }, index) => {
      const note = opened[index];
      return [id, Buffer.isBuffer(note) ? note.toString('utf8') : '(unreadable)'];
    }),
  );
}

export function noSuchReview(): HoldfastError {
  return new HoldfastError('not_found', 'There is no such access review');
}
