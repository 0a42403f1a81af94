/** Alerts that went up to the owners, because those who were told before did not see to it. */
import type { Actor } from '../audit/index.ts';
import { listOwnerIds } from '../identity/index.ts';
import type { Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';

/** One each: whoever took care of one still hears of the other. */
export const ESCALATED_TESTS = {
  quick: 'quick restore tests long overdue',
  full: 'full restore tests long overdue',
} as const;

const FOR_OWNERS: readonly string[] = Object.values(ESCALATED_TESTS);

/** Of what went up to the owners nobody else stops the reminders. @throws HoldfastError `forbidden` */
export async function requireOwnerFor(db: Database, name: string, actor: Actor): Promise<void> {
  if (!FOR_OWNERS.includes(name) || actor.kind === 'console') return;
  if (actor.id !== undefined && (await listOwnerIds(db)).includes(actor.id)) return;
  throw new HoldfastError('forbidden', 'This alert went up to the owners: only an owner takes care of it', {
    hint: 'It ends by itself once such a test has passed. Until then an owner may take care of it.',
  });
}
