/** When reviews begin by themselves, and who is reminded of what. The work of one chore, which may run late, twice, or after a long break. */
import { systemActor, recordAudit } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { queueMail } from '../../mail/index.ts';
import { listOwnerIds } from '../people/queries.ts';
import type { ReviewDeps } from './collect-access.ts';
import {
  findOpenReview,
  getReviewSettings,
  lockReview,
  updateReview,
  updateReviewSettings,
} from './queries.ts';
import { nextReviewAt, reminderDue } from './review-times.ts';
import { startDueReview, tellReviewers } from './reviews.ts';

const DAY_MS = 86_400_000;
const ANNOUNCED_BEFORE_MS = 14 * DAY_MS;

/** Daily: reminds of the one that is open, announces the next, and begins it when it is due. */
export async function keepAccessReviews(deps: ReviewDeps): Promise<void> {
  const open = await findOpenReview(deps.db);
  if (open !== undefined) {
    await remind(deps, open.id);
    return;
  }
  const dueAt = await nextReviewAt(deps);
  if (dueAt === undefined) return;
  const now = deps.clock.now().getTime();
  if (dueAt.getTime() <= now) await startDueReview(deps);
  else if (dueAt.getTime() - now <= ANNOUNCED_BEFORE_MS) await announce(deps, dueAt);
}

async function announce(deps: ReviewDeps, dueAt: Date): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const { announced_for: told } = await getReviewSettings(tx);
    if (told?.getTime() === dueAt.getTime()) return;
    await updateReviewSettings(tx, { announced_for: dueAt });
    for (const userId of await listOwnerIds(tx)) {
      await queueMail(tx, deps, {
        ...{ to: { userId }, template: 'access-review' },
        data: { news: 'announced', count: 0, dueAt: dueAt.toISOString() },
      });
    }
  });
}

async function remind(deps: ReviewDeps, id: string): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const review = await lockReview(tx, id);
    const now = deps.clock.now();
    if (review?.state !== 'open') return;
    if (!reminderDue(review.due_at, review.reminded_at ?? review.started_at, now)) return;
    await updateReview(tx, id, { reminded_at: now });
    const news = review.due_at <= now ? 'overdue' : 'reminder';
    await tellReviewers(tx, deps, { id, news });
    await recordAudit(tx, deps.clock, systemActor('access-reviews'), {
      ...{ action: 'identity.access-review.reminded', objectType: 'access-review', objectId: id },
      detail: { news },
    });
  });
}
