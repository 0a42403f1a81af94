/**
 * Decisions of a review. Guarantees: what is changed or taken away is done at the moment of the decision, by the same functions as on the
 * pages of people, in one transaction with the decision and its entry; a decision about what has changed since it was looked at is refused.
 */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Person } from '../access.ts';
import { revokeApiKey } from '../api-keys/api-keys.ts';
import { refuseOneTooMany } from '../people/acts-alone.ts';
import { changeRole, deactivatePerson } from '../people/person-life.ts';
import { listLastSeen } from '../people/queries.ts';
import { ROLE_WORDS } from '../rights.ts';
import { Role } from '../schema.ts';
import { removeTeamMember } from '../teams/teams.ts';
import { collectAccess, type AccessThing, type ReviewDeps, type WorkspaceHolder } from './collect-access.ts';
import {
  decisionsFor,
  describeItems,
  findObjection,
  findViewer,
  listChanges,
  maySee,
  noSuchReview,
  noteContext,
  openReview,
  versionOf,
} from './describe-items.ts';
import {
  holdReview,
  listEntriesOfTransaction,
  lockItem,
  lockOpenItems,
  updateItems,
  type ItemRow,
} from './queries.ts';
import { Level, type DecisionRequest } from './schema.ts';

/**
 * @throws HoldfastError `not_found` for what the person may not know of; `forbidden` when somebody else decides; `conflict` when it is
 *   not as it was looked at; `wrong_state` when it is signed or decided, or as the act says, such as for the last owner.
 */
export async function decideItem(
  deps: ReviewDeps,
  person: Person,
  { reviewId, itemId }: { reviewId: string; itemId: string },
  request: DecisionRequest,
  actor: Actor,
): Promise<void> {
  const viewer = await findViewer(deps, person);
  const note = request.note?.trim() ?? '';
  const noteSealed = note === '' ? null : await sealNote(deps, itemId, note);
  await writeTransaction(deps.db, async (tx) => {
    const review = await holdReview(tx, reviewId);
    const item = review === undefined ? undefined : await lockItem(tx, reviewId, itemId);
    if (review === undefined || item === undefined || !maySee(viewer, item)) throw noSuchItem();
    if (review.state !== 'open') throw signed();
    const objection = findObjection(viewer, item);
    if (objection !== undefined) throw new HoldfastError('forbidden', objection);
    const live = await findLive(deps, tx, item);
    if (request.version !== versionOf(item, live)) throw movedOn();
    if (!decisionsFor(item, live).includes(request.decision))
      throw new HoldfastError('wrong_state', 'This cannot be decided about it', {
        hint: 'Look at the item again: it may be decided or gone.',
      });
    const { decision, to } = request;
    const first = await recordDecision(tx, deps, actor, item, {
      decision,
      ...(to === undefined ? {} : { to }),
    });
    const outcome = await perform({ ...deps, db: tx }, tx, { item, live, request }, person, actor);
    await updateItems(tx, [itemId], {
      ...{ decision, decided_by: person.userId, decided_at: deps.clock.now(), in_bulk: false },
      ...{ outcome, note_sealed: noteSealed, audit_ids: await listEntriesOfTransaction(tx, first) },
    });
  });
}

/**
 * Keeps all of one's own that were kept in the review before and have not changed since.
 *
 * @param count how many the person saw. @throws HoldfastError `conflict` when it is another number by now.
 */
export async function keepUnchanged(
  deps: ReviewDeps,
  person: Person,
  reviewId: string,
  count: number,
  actor: Actor,
): Promise<number> {
  const viewer = await findViewer(deps, person);
  return writeTransaction(deps.db, async (tx) => {
    const inside = { ...deps, db: tx };
    const review = await holdReview(tx, reviewId);
    if (review === undefined) throw noSuchReview();
    const opened = await openReview(inside, viewer, reviewId);
    if (review.state !== 'open') throw signed();
    const items = await describeItems(inside, viewer, opened);
    const fitting = items.filter(
      (item) => item.decision === null && item.unchanged && item.can.includes('keep'),
    );
    if (fitting.length !== count) throw movedOn();
    const held = await lockOpenItems(
      tx,
      fitting.map(({ id }) => id),
    );
    if (held.length !== count) throw movedOn();
    const entry = randomUUID();
    await recordAudit(tx, deps.clock, actor, {
      ...{ id: entry, action: 'identity.access-review.unchanged-kept' },
      ...{ objectType: 'access-review', objectId: reviewId, detail: { count } },
    });
    await updateItems(tx, held, {
      ...{ decision: 'keep', decided_by: person.userId, decided_at: deps.clock.now() },
      ...{ in_bulk: true, outcome: 'Kept, unchanged since the last review', audit_ids: [entry] },
    });
    return held.length;
  });
}

async function findLive(
  deps: ReviewDeps,
  tx: WriteTransaction,
  item: ItemRow,
): Promise<AccessThing | undefined> {
  const only = { ...item, kind: item.kind as AccessThing['kind'] };
  const seen =
    item.kind === 'account' ? await listLastSeen(tx, item.user_id ?? undefined) : new Map<string, Date>();
  return (await collectAccess(deps, tx, seen, only)).get(item.thing);
}

const ON_THEIR_PAGE =
  'Deactivate this person on their own page: another administrator is asked to approve it. Then decide here.';

interface Wanted {
  item: ItemRow;
  live: AccessThing | undefined;
  request: DecisionRequest;
}

/** @returns what was done, in words. */
async function perform(
  deps: ReviewDeps,
  tx: WriteTransaction,
  { item, live, request }: Wanted,
  person: Person,
  actor: Actor,
): Promise<string> {
  if (live === undefined) return 'It was gone already';
  if (request.decision === 'keep') {
    const changes = listChanges(item, live);
    return changes.length === 0 ? 'Kept' : `Kept as it is now (${changes.join('; ')})`;
  }
  const remove = request.decision === 'remove';
  const userId = item.user_id ?? '';
  const workspaceId = item.workspace_id ?? '';
  switch (live.kind) {
    case 'account': {
      if (remove) {
        await refuseOneTooMany(tx, deps, userId, actor, ON_THEIR_PAGE);
        await deactivatePerson(deps, userId, actor);
        return 'Deactivated';
      }
      const role = requireChoice(request.to, Role, live.facts.role);
      await changeRole(deps, userId, role, actor);
      return `Role changed to ${ROLE_WORDS[role].title}`;
    }
    case 'team':
      await removeTeamMember(deps, { teamId: item.team_id ?? '', userId }, actor);
      return 'Taken out of the team';
    case 'workspace': {
      const holder: WorkspaceHolder = item.user_id === null ? { teamId: item.team_id ?? '' } : { userId };
      if (remove) {
        await deps.workspaces.remove(tx, { workspaceId, holder }, person, actor);
        return 'Taken out of the workspace';
      }
      const role = requireChoice(request.to, Level, live.facts.level);
      await deps.workspaces.setRole(tx, { workspaceId, holder, role }, person, actor);
      return `Level changed to ${role}`;
    }
    case 'api-key':
      await revokeApiKey(
        { ...deps, workspacesOf: () => Promise.resolve([]) },
        person,
        item.key_id ?? '',
        actor,
      );
      return 'Key revoked';
  }
}

/** @throws HoldfastError `invalid_input` for what is none of the choices, or no change. */
function requireChoice<T extends string>(
  to: string | undefined,
  choices: { anyOf: readonly { const: T }[] },
  present: string | undefined,
): T {
  const found = choices.anyOf.find((choice) => choice.const === to)?.const;
  if (found !== undefined && found !== present) return found;
  throw new HoldfastError('invalid_input', 'Say what it is changed to', {
    hint: `Another one of: ${choices.anyOf.map((choice) => choice.const).join(', ')}.`,
  });
}

/** @returns the entry's id. */
async function recordDecision(
  tx: WriteTransaction,
  deps: ReviewDeps,
  actor: Actor,
  item: ItemRow,
  detail: Record<string, unknown>,
): Promise<string> {
  const id = randomUUID();
  await recordAudit(tx, deps.clock, actor, {
    ...{
      id,
      action: 'identity.access-review.decided',
      objectType: 'access-review',
      objectId: item.review_id,
    },
    workspaceId: item.workspace_id,
    detail: { item: item.id, thing: item.thing, before: item.decision, ...detail },
  });
  return id;
}

async function sealNote(deps: ReviewDeps, itemId: string, note: string): Promise<Buffer | null> {
  const { id: keyId } = await deps.keys.applianceKey();
  const [sealed] = await deps.sealer.seal([
    { keyId, purpose: 'secrets', context: noteContext(itemId), value: note },
  ]);
  return sealed ?? null;
}

function noSuchItem(): HoldfastError {
  return new HoldfastError('not_found', 'There is no such item in this review');
}

function signed(): HoldfastError {
  return new HoldfastError('wrong_state', 'This review is over and does not change any more');
}

function movedOn(): HoldfastError {
  return new HoldfastError('conflict', 'It has changed since you looked', {
    hint: 'Look at it again, then decide.',
  });
}
