/** What is due for whoever joins, by the setting: entered in the transaction that makes the person. */
import { randomUUID } from 'node:crypto';
import type { FieldSealer } from '../../keys/index.ts';
import type { Clock } from '../../lib/clock.ts';
import type { WriteTransaction } from '../../lib/db.ts';
import { sealEntryWords } from './entry-words.ts';
import { getRegisterSettings, insertEntries } from './queries.ts';
import type { RegisterSettings } from './schema.ts';

const DAY_MS = 86_400_000;

/** @returns how many were entered. */
export async function enterWhatIsDue(
  tx: WriteTransaction,
  deps: { clock: Clock; sealer: Pick<FieldSealer, 'seal'> },
  person: { userId: string; subjectKeyId: string },
): Promise<number> {
  const duties = (await getRegisterSettings(tx)).newcomers as RegisterSettings['newcomers'];
  if (duties.length === 0) return 0;
  const now = deps.clock.now();
  const places = duties.map((duty) => ({
    ...{ id: randomUUID(), subjectKeyId: person.subjectKeyId },
    words: { what: duty.what, reference: '', note: '' },
  }));
  const sealed = await sealEntryWords(deps, places);
  await insertEntries(
    tx,
    duties.map(({ kind, days }, index) => ({
      ...{ id: places[index]?.id ?? randomUUID(), user_id: person.userId, kind },
      words_sealed: sealed[index] ?? Buffer.alloc(0),
      due_on: new Date(now.getTime() + days * DAY_MS).toISOString().slice(0, 10),
      ...{ done_on: null, created_at: now, changed_at: now },
    })),
  );
  return duties.length;
}
