/** What an owner does to an open review as a whole, beside signing it: another due date, or its end without a signature. */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Person } from '../access.ts';
import type { ReviewDeps } from './collect-access.ts';
import { noSuchReview, noteContext } from './describe-items.ts';
import { listItemRows, lockReview, updateReview, type ReviewRow } from './queries.ts';

const DAY_MS = 86_400_000;
/** As far ahead as a review may be begun with. */
const LONGEST_DAYS = 180;

/** @throws HoldfastError `not_found`; `wrong_state` when it is over; `invalid_input` for a time that is past or too far. */
export async function changeDueDate(deps: ReviewDeps, id: string, dueAt: Date, actor: Actor): Promise<void> {
  const now = deps.clock.now().getTime();
  if (dueAt.getTime() <= now || dueAt.getTime() > now + LONGEST_DAYS * DAY_MS)
    throw new HoldfastError('invalid_input', `It is due within ${LONGEST_DAYS} days, and not before now`);
  await writeTransaction(deps.db, async (tx) => {
    const before = await holdOpen(tx, id);
    await updateReview(tx, id, { due_at: dueAt });
    await recordAudit(tx, deps.clock, actor, {
      ...{ action: 'identity.access-review.due-changed', objectType: 'access-review', objectId: id },
      detail: { before: before.due_at.toISOString(), after: dueAt.toISOString() },
    });
  });
}

/**
 * Ends a review without a signature. It stays in the list as it is then, with the reason; what was decided in it stays done.
 *
 * @throws HoldfastError `not_found`; `wrong_state` when it is over.
 */
export async function withdrawReview(
  deps: ReviewDeps,
  person: Person,
  id: string,
  reason: string,
  actor: Actor,
): Promise<void> {
  const { id: keyId } = await deps.keys.applianceKey();
  const [sealed] = await deps.sealer.seal([
    { keyId, purpose: 'secrets', context: noteContext(id), value: reason.trim() },
  ]);
  await writeTransaction(deps.db, async (tx) => {
    const review = await holdOpen(tx, id);
    const items = await listItemRows(tx, id);
    await updateReview(tx, id, {
      ...{ state: 'withdrawn', withdrawn_by: person.userId, withdrawn_at: deps.clock.now() },
      statement_sealed: sealed ?? null,
    });
    const decided = items.filter(({ decision }) => decision !== null).length;
    await recordAudit(tx, deps.clock, actor, {
      ...{ action: 'identity.access-review.withdrawn', objectType: 'access-review', objectId: id },
      detail: { number: review.number, items: items.length, decided },
    });
  });
}

async function holdOpen(tx: WriteTransaction, id: string): Promise<ReviewRow> {
  const review = await lockReview(tx, id);
  if (review === undefined) throw noSuchReview();
  if (review.state !== 'open') throw new HoldfastError('wrong_state', 'This review is over already');
  return review;
}
