/** Beginning a review, and what there is of reviews. Guarantees: one is open at a time; its list is frozen in the transaction that begins it. */
import { randomUUID } from 'node:crypto';
import { recordAudit, systemActor, type Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { queueMail } from '../../mail/index.ts';
import type { Person } from '../access.ts';
import { namePeople, type ListedPerson } from '../people/people.ts';
import { listLastSeen, listOwnerIds } from '../people/queries.ts';
import { hasRight } from '../rights.ts';
import { collectAccess, type ReviewDeps } from './collect-access.ts';
import {
  describeItems,
  findObjection,
  findViewer,
  KINDS,
  noSuchReview,
  noteContext,
  openReview,
} from './describe-items.ts';
import {
  countItems,
  countOpenByWorkspace,
  countOpenItems,
  findOpenReview,
  findReview,
  getReviewSettings,
  insertItems,
  insertReview,
  listAccounts,
  listKeptBefore,
  listReviewRows,
  updateReviewSettings,
  type ReviewRow,
} from './queries.ts';
import { nextReviewAt } from './review-times.ts';
import type {
  ItemsPage,
  ItemsQuery,
  Review,
  ReviewDetail,
  ReviewItem,
  ReviewList,
  ReviewSettings,
} from './schema.ts';

const DAY_MS = 86_400_000;
const MOST_ITEMS = 200_000;

/**
 * Begins a review of what there is now, and tells whoever has to decide.
 *
 * @param origin under which people reach the appliance, for the links in mails; that of the review before when left out.
 * @param actor a person, or Holdfast itself when one was due.
 * @returns its id.
 * @throws HoldfastError `wrong_state` while one is open.
 */
export async function startReview(
  deps: ReviewDeps,
  { days, origin }: { days?: number | undefined; origin?: string },
  actor: Actor,
): Promise<string> {
  const id = randomUUID();
  await writeTransaction(deps.db, async (tx) => {
    const now = deps.clock.now();
    const settings = await getReviewSettings(tx);
    const dueAt = new Date(now.getTime() + (days ?? settings.days_to_decide) * DAY_MS);
    const inserted = await insertReview(tx, {
      ...{ id, started_at: now, due_at: dueAt, state: 'open', started_by: actor.id ?? null },
      cause: actor.kind === 'system' ? 'schedule' : 'person',
      origin: origin ?? (await listReviewRows(tx))[0]?.origin ?? null,
    });
    if (!inserted)
      throw new HoldfastError('wrong_state', 'An access review is open already', {
        hint: 'Finish that one first.',
      });
    const items = await freeze(tx, deps, id);
    await updateReviewSettings(tx, { announced_for: null });
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.access-review.started',
      ...{ objectType: 'access-review', objectId: id },
      detail: { items, dueAt: dueAt.toISOString() },
    });
    await tellReviewers(tx, deps, { id, news: 'started' });
  });
  return id;
}

async function freeze(tx: WriteTransaction, deps: ReviewDeps, reviewId: string): Promise<number> {
  const things = await collectAccess(deps, tx, await listLastSeen(tx));
  if (things.size > MOST_ITEMS)
    throw new HoldfastError('too_large', `More than ${MOST_ITEMS} items cannot be reviewed at once`);
  const kept = await listKeptBefore(tx);
  const accounts = new Map((await listAccounts(tx)).map((row) => [row.id, row]));
  const rows = [...things.values()].map((one) => {
    const account = one.kind === 'account' ? accounts.get(one.userId ?? '') : undefined;
    return {
      ...{ id: randomUUID(), review_id: reviewId, thing: one.thing, kind: one.kind },
      ...{ user_id: one.userId, team_id: one.teamId, workspace_id: one.workspaceId, key_id: one.keyId },
      subject_key_id: account?.subject_key_id ?? null,
      ...{ name_sealed: account?.name_sealed ?? null, email_sealed: account?.email_sealed ?? null },
      ...{ facts: JSON.stringify(one.facts), fingerprint: one.fingerprint },
      kept_before: kept.get(one.thing) === one.fingerprint,
    };
  });
  await insertItems(tx, rows);
  return rows.length;
}

/** Writes to owners about what they have to decide, and to managers about their workspaces. Nobody is told who has nothing to do. */
export async function tellReviewers(
  tx: WriteTransaction,
  deps: ReviewDeps,
  { id, news }: { id: string; news: 'started' | 'reminder' | 'overdue' },
): Promise<void> {
  const review = await findReview(tx, id);
  if (review === undefined) throw noSuchReview();
  const url = review.origin === null ? {} : { url: `${review.origin}/people/reviews/${id}` };
  const open = await countOpenByWorkspace(tx, id);
  const all = [...open.values()].reduce((sum, count) => sum + count, 0);
  const owners = await listOwnerIds(tx);
  const waiting = new Map(owners.map((owner) => [owner, all]));
  for (const { workspaceId, userId } of await deps.workspaces.listManagers(tx))
    if (!owners.includes(userId))
      waiting.set(userId, (waiting.get(userId) ?? 0) + (open.get(workspaceId) ?? 0));
  for (const [userId, count] of waiting) {
    if (count === 0) continue;
    await queueMail(tx, deps, {
      ...{ to: { userId }, template: 'access-review' },
      data: { news, count, dueAt: review.due_at.toISOString(), ...url },
    });
  }
}

/** The newest first; members see those that hold something of workspaces they manage. */
export async function listReviews(
  deps: ReviewDeps,
  person: Pick<Person, 'userId' | 'role'>,
): Promise<ReviewList> {
  const viewer = await findViewer(deps, person);
  const rows = await listReviewRows(deps.db);
  const counts = await countItems(deps.db, viewer.seesAll ? undefined : [...viewer.managed]);
  const byReview = Map.groupBy(counts, (one) => one.review_id);
  const shown = viewer.seesAll ? rows : rows.filter((row) => byReview.has(row.id));
  const names = await nameActors(deps, shown);
  const next = viewer.seesAll ? await nextReviewAt(deps) : undefined;
  return {
    items: shown.map((row) => toReview(deps, row, byReview.get(row.id) ?? [], names)),
    nextAt: next?.toISOString() ?? null,
  };
}

/** @throws HoldfastError `not_found` */
export async function showReview(
  deps: ReviewDeps,
  person: Pick<Person, 'userId' | 'role'>,
  id: string,
): Promise<ReviewDetail> {
  const viewer = await findViewer(deps, person);
  const opened = await openReview(deps, viewer, id);
  const { review, visible } = opened;
  const items = review.state === 'open' ? await describeItems(deps, viewer, opened) : [];
  const yours = items.filter(isYours);
  const decisions = visible.map((row) => ({ decision: row.decision, count: 1 }));
  const undecided = opened.rows.some((row) => row.decision === null);
  return {
    ...toReview(deps, review, decisions, await nameActors(deps, [review])),
    statement: viewer.seesAll ? await openStatement(deps, review) : null,
    yours: yours.length,
    ...countUnchanged(yours),
    can: {
      sign: review.state === 'open' && viewer.owner && !undecided,
      export: viewer.seesAll,
    },
  };
}

function countUnchanged(yours: readonly ReviewItem[]): Pick<ReviewDetail, 'unchanged' | 'unchangedByKind'> {
  const unchangedByKind = { account: 0, team: 0, workspace: 0, 'api-key': 0 };
  const unchanged = yours.filter((item) => item.unchanged);
  for (const { kind } of unchanged) unchangedByKind[kind] += 1;
  return { unchanged: unchanged.length, unchangedByKind };
}

const isYours = (item: ReviewItem) => item.decision === null && item.can.length > 0;

/** @throws HoldfastError `not_found` */
export async function listReviewItems(
  deps: ReviewDeps,
  person: Pick<Person, 'userId' | 'role'>,
  id: string,
  query: ItemsQuery,
): Promise<ItemsPage> {
  const viewer = await findViewer(deps, person);
  const all = await describeItems(deps, viewer, await openReview(deps, viewer, id));
  const wanted = all.filter((item) => fits(item, query));
  const { offset = 0, limit = 50, sort, order } = query;
  if (sort !== undefined && sort !== 'person') wanted.sort((a, b) => compare(sort, a, b));
  if (order === 'desc') wanted.reverse();
  return { items: wanted.slice(offset, offset + limit), total: wanted.length };
}

function fits(item: ReviewItem, { item: only, kind, state, search = '' }: ItemsQuery): boolean {
  if (only !== undefined && item.id !== only) return false;
  if (kind !== undefined && item.kind !== kind) return false;
  if (state === 'open' && item.decision !== null) return false;
  if (state === 'decided' && item.decision === null) return false;
  if (state === 'yours' && !isYours(item)) return false;
  if (state === 'changed' && item.changes.length === 0) return false;
  if (state === 'altered' && (item.decision === null || item.decision.decision === 'keep')) return false;
  if (state === 'unchanged' && !item.unchanged) return false;
  const needle = search.normalize('NFKC').toLowerCase().trim();
  const { person, team, workspace, facts } = item;
  return [person?.name, person?.email, team?.name, workspace?.name, facts.name, facts.prefix].some(
    (text) => text?.normalize('NFKC').toLowerCase().includes(needle) === true,
  );
}

function compare(by: 'kind' | 'seen' | 'decided', a: ReviewItem, b: ReviewItem): number {
  if (by === 'kind') return KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind);
  const key = (item: ReviewItem) =>
    by === 'seen' ? (item.facts.lastSeenAt ?? item.facts.lastUsedAt ?? '') : (item.decision?.at ?? '');
  return key(a).localeCompare(key(b));
}

/** What somebody should see at the top of each page: that a review waits for them. */
export async function reviewBanner(
  deps: ReviewDeps,
  person: Pick<Person, 'userId' | 'role'>,
): Promise<{ kind: 'access-review'; message: string }[]> {
  const review = await findOpenReview(deps.db);
  if (review === undefined || person.role === 'auditor') return [];
  const owner = hasRight(person.role, 'people.manage');
  if (!owner && (await deps.workspaces.listManagers(deps.db, person.userId)).length === 0) return [];
  const viewer = await findViewer(deps, person);
  const asker = { userId: person.userId, teamIds: [...viewer.teammates.keys()] };
  const open = await countOpenItems(
    deps.db,
    review.id,
    asker,
    viewer.owner ? undefined : [...viewer.managed],
  );
  const mine = open
    .filter((one) => findObjection(viewer, one) === undefined)
    .reduce((sum, one) => sum + one.count, 0);
  const signable = viewer.owner && open.length === 0;
  const late = review.due_at < deps.clock.now();
  const until = review.due_at.toISOString().slice(0, 10);
  if (mine === 0)
    return signable
      ? [
          {
            kind: 'access-review',
            message: 'Everything of the access review is decided: it waits to be signed.',
          },
        ]
      : [];
  const what = mine === 1 ? '1 item of the access review waits' : `${mine} items of the access review wait`;
  return [
    { kind: 'access-review', message: `${what} for you, ${late ? `due since ${until}` : `until ${until}`}.` },
  ];
}

export async function readReviewSettings(deps: Pick<ReviewDeps, 'db'>): Promise<ReviewSettings> {
  const row = await getReviewSettings(deps.db);
  return { everyMonths: row.every_months, daysToDecide: row.days_to_decide };
}

export async function changeReviewSettings(
  deps: Pick<ReviewDeps, 'db' | 'clock'>,
  change: ReviewSettings,
  actor: Actor,
): Promise<ReviewSettings> {
  return writeTransaction(deps.db, async (tx) => {
    const before = await readReviewSettings({ db: tx });
    await updateReviewSettings(tx, {
      ...{ every_months: change.everyMonths, days_to_decide: change.daysToDecide, announced_for: null },
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.access-review-settings.changed',
      objectType: 'setting',
      detail: { before, after: change },
    });
    return change;
  });
}

/** A review that was due begins by itself. */
export const startDueReview = (deps: ReviewDeps): Promise<string> =>
  startReview(deps, {}, systemActor('access-reviews'));

async function nameActors(
  deps: ReviewDeps,
  rows: readonly ReviewRow[],
): Promise<ReadonlyMap<string, ListedPerson>> {
  return namePeople(deps, [
    ...new Set(
      rows.flatMap((row) => [row.started_by ?? [], row.signed_by ?? [], row.withdrawn_by ?? []].flat()),
    ),
  ]);
}

function toReview(
  deps: Pick<ReviewDeps, 'clock'>,
  row: ReviewRow,
  decisions: readonly { decision: string | null; count: number }[],
  names: ReadonlyMap<string, { name: string }>,
): Review {
  const sum = (fit: (decision: string | null) => boolean) =>
    decisions.reduce((total, one) => total + (fit(one.decision) ? one.count : 0), 0);
  const who = (id: string | null) => (id === null ? null : { id, name: names.get(id)?.name ?? '' });
  const open = row.state === 'open';
  return {
    ...{ id: row.id, number: row.number, state: row.state as Review['state'] },
    cause: row.cause === 'schedule' ? 'schedule' : 'person',
    ...{ startedBy: who(row.started_by), startedAt: row.started_at.toISOString() },
    ...{ dueAt: row.due_at.toISOString(), overdue: open && row.due_at < deps.clock.now() },
    ...{ signedBy: who(row.signed_by), signedAt: row.signed_at?.toISOString() ?? null, sha256: row.sha256 },
    ...{ withdrawnBy: who(row.withdrawn_by), withdrawnAt: row.withdrawn_at?.toISOString() ?? null },
    counts: {
      items: sum(() => true),
      decided: sum((one) => one !== null),
      kept: sum((one) => one === 'keep'),
      changed: sum((one) => one === 'change'),
      removed: sum((one) => one === 'remove'),
    },
  };
}

export async function openStatement(deps: ReviewDeps, review: ReviewRow): Promise<string | null> {
  if (review.statement_sealed === null) return null;
  const { id: keyId } = await deps.keys.applianceKey();
  const [opened] = await deps.sealer.tryOpen([
    { keyId, purpose: 'secrets', context: noteContext(review.id), sealed: review.statement_sealed },
  ]);
  return Buffer.isBuffer(opened) ? opened.toString('utf8') : '(unreadable)';
}
