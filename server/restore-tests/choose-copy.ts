/** Which copies a test restores. What is drawn is drawn here, never by a page: whoever starts a test does not pick a copy that they know to be good. */
import { randomInt } from 'node:crypto';
import { SYSTEM_SECTION } from '../backups/index.ts';
import type { Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import {
  countCopies,
  findCertainCopy,
  findCopyAt,
  findLargestCopy,
  findNewestCopy,
  listNewestCopies,
  type CopyFilter,
  type KeptCopy,
} from './copy-queries.ts';
import type { CopyChoice, RestoreTestMode } from './schema.ts';

/** With the scope, where it is known: it says which part must still be there. */
export type ScopedChoice = CopyChoice & { mode?: RestoreTestMode };

export interface ChosenCopy extends KeptCopy {
  choice: CopyChoice['choice'];
  /** Among how many it was drawn. */
  drawnFrom: number | null;
  /** No newer one lies on the same target: only such a test proves what would be restored on the worst day. */
  newest: boolean;
}

/**
 * @returns one, or with `everyTarget` one for each target that holds any.
 * @throws HoldfastError `not_found` when there is none; `invalid_input` for a choice that does not say enough.
 */
export async function chooseCopies(db: Database, choice: ScopedChoice): Promise<ChosenCopy[]> {
  checkChoice(choice);
  const { targetId } = choice;
  const filter = filterOf(choice);
  const common = { choice: choice.choice, drawnFrom: null };
  if (choice.everyTarget === true) {
    const copies = await listNewestCopies(db, filter);
    if (copies.length === 0) throw noCopy();
    return Promise.all(
      copies.map(async (copy) => ({ ...copy, ...common, newest: await isNewest(db, copy) })),
    );
  }
  if (choice.choice === 'random') return [await drawCopy(db, filter)];
  const copy =
    choice.choice === 'latest'
      ? await findNewestCopy(db, filter)
      : await findCertainCopy(db, choice.snapshotId ?? '', targetId ?? '');
  if (copy === undefined) throw noCopy(choice.choice === 'certain');
  return [{ ...copy, ...common, newest: await isNewest(db, copy) }];
}

/** Every copy has the same chance: a snapshot on two targets is two copies. */
async function drawCopy(db: Database, filter: CopyFilter): Promise<ChosenCopy> {
  const drawnFrom = await countCopies(db, filter);
  if (drawnFrom === 0) throw noCopy();
  const copy = await findCopyAt(db, randomInt(drawnFrom), filter);
  // One was forgotten between the two questions.
  if (copy === undefined) return drawCopy(db, filter);
  return { ...copy, choice: 'random', drawnFrom, newest: await isNewest(db, copy) };
}

/** What a test of that choice may need most room for: what will be drawn is not known before. */
export async function largestOf(db: Database, choice: ScopedChoice): Promise<KeptCopy> {
  checkChoice(choice);
  const largest =
    choice.choice === 'random'
      ? await findLargestCopy(db, filterOf(choice))
      : (await chooseCopies(db, choice)).reduce((a, b) => (a.sizeBytes > b.sizeBytes ? a : b));
  if (largest === undefined) throw noCopy();
  return largest;
}

async function isNewest(db: Database, copy: KeptCopy): Promise<boolean> {
  return (await findNewestCopy(db, { targetId: copy.targetId }))?.snapshotId === copy.snapshotId;
}

/** Logs and configuration of a machine may go before the rest of its snapshot. */
const filterOf = ({ targetId, mode }: ScopedChoice): CopyFilter => ({
  targetId,
  needs: mode === 'system' ? SYSTEM_SECTION : undefined,
});

function checkChoice({ choice, snapshotId, targetId, everyTarget }: CopyChoice): void {
  const wrong =
    choice === 'certain' && (snapshotId === undefined || targetId === undefined)
      ? 'A certain copy is named by its snapshot and its target'
      : choice !== 'certain' && snapshotId !== undefined
        ? 'A snapshot is named only where a certain copy is chosen'
        : everyTarget === true && (choice !== 'latest' || targetId !== undefined)
          ? 'Of every target only the newest copies are tested together'
          : undefined;
  if (wrong !== undefined) throw new HoldfastError('invalid_input', wrong);
}

function noCopy(certain = false): HoldfastError {
  return certain
    ? new HoldfastError('not_found', 'This target does not hold that snapshot', {
        hint: 'Choose one from the list of snapshots.',
      })
    : new HoldfastError('not_found', 'There is no copy to test', { hint: 'Take a snapshot first.' });
}
