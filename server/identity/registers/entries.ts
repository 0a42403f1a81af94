/** Keeping the registers. Guarantees: who changed what stands in the audit log, without the words; a change of what was changed meanwhile is refused. */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { findUser, listUsersByIds } from '../people/queries.ts';
import { sealEntryWords, type EntryWords } from './entry-words.ts';
import { dayOf, openEntries, type RegisterDeps } from './list-entries.ts';
import {
  deleteEntry,
  getRegisterSettings,
  insertEntries,
  lockEntry,
  lockRegister,
  updateEntry,
  updateRegisterSettings,
  type EntryRow,
} from './queries.ts';
import type { EntryChange, NewEntry, RegisterEntry, RegisterSettings } from './schema.ts';

const MOST_ENTRIES = 50_000;

/** @throws HoldfastError `not_found` for an unknown person; `invalid_input`. */
export async function addEntry(deps: RegisterDeps, wanted: NewEntry, actor: Actor): Promise<RegisterEntry> {
  checkDays(deps, wanted);
  const id = randomUUID();
  await writeTransaction(deps.db, async (tx) => {
    await insertNew(tx, deps, [{ ...wanted, id }]);
    await record(tx, deps, actor, 'added', id, { userId: wanted.userId, ...factsOf(wanted) });
  });
  return showEntry(deps, wanted.userId, id);
}

/** Writes new entries of people who are here or were. @throws HoldfastError `not_found`; `too_large` beyond 50,000 entries. */
export async function insertNew(
  tx: WriteTransaction,
  deps: RegisterDeps,
  wanted: readonly (NewEntry & { id: string })[],
): Promise<void> {
  if ((await lockRegister(tx)) + wanted.length > MOST_ENTRIES)
    throw new HoldfastError('too_large', `The registers hold at most ${MOST_ENTRIES} entries`);
  const users = await listUsersByIds(tx, [...new Set(wanted.map((one) => one.userId))]);
  const keyOf = new Map(users.map((user) => [user.id, user.subject_key_id]));
  if (wanted.some((one) => !keyOf.has(one.userId)))
    throw new HoldfastError('not_found', 'There is no such person');
  const sealed = await sealEntryWords(
    deps,
    wanted.map((one) => ({ id: one.id, subjectKeyId: keyOf.get(one.userId) ?? '', words: wordsOf(one) })),
  );
  const now = deps.clock.now();
  await insertEntries(
    tx,
    wanted.map((one, index) => ({
      ...{ id: one.id, user_id: one.userId, kind: one.kind, done_on: one.doneOn, due_on: one.dueOn },
      ...{ words_sealed: sealed[index] ?? Buffer.alloc(0), created_at: now, changed_at: now },
    })),
  );
}

/** @throws HoldfastError `not_found`; `conflict` when it was changed meanwhile; `invalid_input`. */
export async function changeEntry(
  deps: RegisterDeps,
  id: string,
  { version, ...wanted }: EntryChange,
  actor: Actor,
): Promise<RegisterEntry> {
  const userId = await writeTransaction(deps.db, async (tx) => {
    const before = await lockEntry(tx, id);
    if (before === undefined) throw noSuchEntry();
    checkDays(deps, wanted);
    if (before.version !== version)
      throw new HoldfastError('conflict', 'This entry was changed meanwhile', {
        hint: 'Load the page again.',
      });
    const user = await findUser(tx, before.user_id);
    const place = { id, subjectKeyId: user?.subject_key_id ?? '', words: wordsOf(wanted) };
    const [sealed] = await sealEntryWords(deps, [place]);
    await updateEntry(tx, id, {
      ...{ kind: wanted.kind, done_on: wanted.doneOn, due_on: wanted.dueOn, words_sealed: sealed },
      changed_at: deps.clock.now(),
      // Another day is another thing to be reminded of.
      ...(before.due_on === wanted.dueOn ? {} : { reminded_at: null }),
    });
    const facts = { before: factsOf(fromRow(before)), after: factsOf(wanted) };
    await record(tx, deps, actor, 'changed', id, { userId: before.user_id, ...facts });
    return before.user_id;
  });
  return showEntry(deps, userId, id);
}

/** For what was entered by mistake. @throws HoldfastError `not_found` */
export async function removeEntry(deps: RegisterDeps, id: string, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const before = await lockEntry(tx, id);
    if (before === undefined) throw noSuchEntry();
    await deleteEntry(tx, id);
    await record(tx, deps, actor, 'removed', id, { userId: before.user_id, ...factsOf(fromRow(before)) });
  });
}

export async function readRegisterSettings(deps: Pick<RegisterDeps, 'db'>): Promise<RegisterSettings> {
  const row = await getRegisterSettings(deps.db);
  return { remindDays: row.remind_days, newcomers: row.newcomers as RegisterSettings['newcomers'] };
}

export async function changeRegisterSettings(
  deps: Pick<RegisterDeps, 'db' | 'clock'>,
  change: RegisterSettings,
  actor: Actor,
): Promise<RegisterSettings> {
  const newcomers = change.newcomers.map((duty) => ({ ...duty, what: duty.what.trim() }));
  if (newcomers.some(({ what }) => what === ''))
    throw new HoldfastError('invalid_input', 'Say what is due for newcomers');
  return writeTransaction(deps.db, async (tx) => {
    const before = await readRegisterSettings({ db: tx });
    await updateRegisterSettings(tx, {
      ...{ remind_days: change.remindDays, newcomers: JSON.stringify(newcomers) },
    });
    await recordAudit(tx, deps.clock, actor, {
      ...{ action: 'identity.register-settings.changed', objectType: 'setting' },
      detail: { before, after: { ...change, newcomers } },
    });
    return { ...change, newcomers };
  });
}

/**
 * What is neither done nor due is nothing; what is done was done by now.
 *
 * @throws HoldfastError `invalid_input`
 */
export function checkDays(
  deps: Pick<RegisterDeps, 'clock'>,
  { doneOn, dueOn, what }: Pick<NewEntry, 'doneOn' | 'dueOn' | 'what'>,
): void {
  const tomorrow = dayOf(new Date(deps.clock.now().getTime() + 86_400_000));
  const problem =
    what.trim() === ''
      ? 'It does not say what it is'
      : doneOn === null && dueOn === null
        ? 'It is neither done nor due: give one day at least'
        : doneOn !== null && doneOn > tomorrow
          ? 'What is done cannot lie in the future'
          : [doneOn, dueOn].some((day) => day !== null && (day < '1900-01-01' || day > '2200-01-01'))
            ? 'A day lies between 1900 and 2200'
            : doneOn !== null && dueOn !== null && dueOn < doneOn
              ? 'It ends before it was done'
              : undefined;
  if (problem !== undefined) throw new HoldfastError('invalid_input', problem);
}

async function showEntry(deps: RegisterDeps, userId: string, id: string): Promise<RegisterEntry> {
  const found = (await openEntries(deps, userId)).find((entry) => entry.id === id);
  if (found === undefined) throw noSuchEntry();
  return found;
}

const wordsOf = ({ what, reference, note }: EntryWords): EntryWords => ({
  ...{ what: what.trim(), reference: reference.trim(), note: note.trim() },
});
const fromRow = (row: EntryRow) => ({ kind: row.kind, doneOn: row.done_on, dueOn: row.due_on });
const factsOf = ({ kind, doneOn, dueOn }: { kind: string; doneOn: string | null; dueOn: string | null }) => ({
  ...{ kind, doneOn, dueOn },
});

async function record(
  tx: WriteTransaction,
  deps: Pick<RegisterDeps, 'clock'>,
  actor: Actor,
  what: 'added' | 'changed' | 'removed',
  id: string,
  detail: Record<string, unknown>,
): Promise<void> {
  await recordAudit(tx, deps.clock, actor, {
    ...{ action: `identity.register-entry.${what}`, objectType: 'register-entry', objectId: id, detail },
  });
}

function noSuchEntry(): HoldfastError {
  return new HoldfastError('not_found', 'There is no such entry');
}
