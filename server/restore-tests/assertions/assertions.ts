/** Assertions as people write them: every change is a version that stays, and an audit entry. */
import { createHash, randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import { namePeople, type PeopleDeps } from '../../identity/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { RestoreTestMode } from '../schema.ts';
import { trimStatement } from './ask.ts';
import { ASKABLE_FUNCTIONS, ASKABLE_TABLES } from './askable.ts';
import {
  deleteAssertion,
  insertAssertion,
  insertVersion,
  listAssertionRows,
  listVersionRows,
  lockAssertions,
  updateAssertion,
  type AssertionRow,
} from './queries.ts';
import {
  MOST_ASSERTIONS,
  type Assertion,
  type AssertionChange,
  type AssertionList,
  type AssertionVersion,
  type AskedAssertion,
  type Expected,
  type NewAssertion,
  type RunsIn,
} from './schema.ts';

export type AssertionDeps = Pick<PeopleDeps, 'db' | 'sealer' | 'clock'>;
type WriteDeps = { db: Database; clock: Clock };

export async function showAssertions(deps: AssertionDeps): Promise<AssertionList> {
  return {
    items: await describe(deps, await listAssertionRows(deps.db)),
    most: MOST_ASSERTIONS,
    tables: Object.entries(ASKABLE_TABLES).map(([table, columns]) => ({ table, columns: [...columns] })),
    functions: [...ASKABLE_FUNCTIONS],
  };
}

/** Newest first, the removal too. @throws HoldfastError `not_found` */
export async function showVersions(deps: AssertionDeps, id: string): Promise<{ items: AssertionVersion[] }> {
  const rows = await listVersionRows(deps.db, id);
  if (rows.length === 0) throw noAssertion();
  const names = await nameAll(deps, rows);
  return { items: rows.map((row) => ({ ...wordsOf(row, names), removed: row.removed })) };
}

/** @throws HoldfastError `invalid_input` for a statement that is none; `wrong_state` when there are too many. */
export async function addAssertion(
  deps: AssertionDeps,
  actor: Actor,
  given: NewAssertion,
): Promise<Assertion> {
  checkStatement(given.sql);
  const id = randomUUID();
  await writeTransaction(deps.db, async (tx) => {
    const rows = await lockAssertions(tx);
    if (rows.length >= MOST_ASSERTIONS) {
      throw new HoldfastError('wrong_state', `There are ${MOST_ASSERTIONS} assertions, and no more may be`, {
        hint: 'Remove one, or ask two things in one statement.',
      });
    }
    const position = (rows.at(-1)?.position ?? 0) + 1;
    const row = rowOf(deps, actor, { ...given, id, position, version: 1 });
    await insertAssertion(tx, row);
    await keepVersion(tx, deps, actor, row, 'added');
  });
  return findAssertion(deps, id);
}

/** @throws HoldfastError `not_found`; `conflict` when somebody changed it meanwhile; as `addAssertion` */
export async function changeAssertion(
  deps: AssertionDeps,
  actor: Actor,
  id: string,
  given: AssertionChange,
): Promise<Assertion> {
  checkStatement(given.sql);
  await writeTransaction(deps.db, async (tx) => {
    const before = await lockOne(tx, id);
    if (before.version !== given.version) {
      throw new HoldfastError('conflict', 'Somebody else changed this assertion meanwhile', {
        hint: 'Load the page again, and make your change to what is there now.',
      });
    }
    const { position } = before;
    const row = rowOf(deps, actor, { ...given, id, position, version: before.version + 1 });
    await updateAssertion(tx, id, row);
    await keepVersion(tx, deps, actor, row, 'changed');
  });
  return findAssertion(deps, id);
}

/** Its versions stay. @throws HoldfastError `not_found` */
export async function removeAssertion(deps: WriteDeps, actor: Actor, id: string): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const before = await lockOne(tx, id);
    await deleteAssertion(tx, id);
    const { position, statement: sql, name, enabled } = before;
    const kept = {
      sql,
      name,
      enabled,
      expected: before.expected as Expected,
      runsIn: before.runs_in as RunsIn,
    };
    const row = rowOf(deps, actor, { ...kept, id, position, version: before.version + 1 });
    await keepVersion(tx, deps, actor, row, 'removed');
  });
}

/** @throws HoldfastError `conflict` when these are not all there are. */
export async function orderAssertions(
  deps: AssertionDeps,
  actor: Actor,
  ids: readonly string[],
): Promise<AssertionList> {
  await writeTransaction(deps.db, async (tx) => {
    const rows = await lockAssertions(tx);
    const same = rows.length === ids.length && rows.every((row) => ids.includes(row.id));
    if (!same) {
      throw new HoldfastError('conflict', 'Somebody added or removed an assertion meanwhile', {
        hint: 'Load the page again.',
      });
    }
    for (const [index, id] of ids.entries()) await updateAssertion(tx, id, { position: index + 1 });
    await recordAudit(tx, deps.clock, actor, {
      action: 'restore-tests.assertions.ordered',
      objectType: 'restore-assertion',
      detail: { ids: [...ids] },
    });
  });
  return showAssertions(deps);
}

/** What a test asks, in order. */
export async function assertionsFor(
  db: Database,
  test: { mode: RestoreTestMode; keySource: 'test-identity' | 'recovery-kit' },
): Promise<AskedAssertion[]> {
  const asked = (await listAssertionRows(db)).filter(({ enabled, runs_in: when }) => {
    // They are asked of the restored database, which a test of the system has none of.
    if (!enabled || test.mode === 'system') return false;
    return when === 'every' || (when === 'full' ? test.mode === 'full' : test.keySource === 'recovery-kit');
  });
  return asked.map(({ id, version, name, statement, expected }) => ({
    ...{ id, version, name, sql: statement },
    expected: expected as Expected,
  }));
}

/** Hex. */
export function hashStatement(sql: string): string {
  return createHash('sha256').update(sql).digest('hex');
}

/** Everything else is PostgreSQL's to refuse. @throws HoldfastError `invalid_input` */
export function checkStatement(sql: string): void {
  const bad =
    trimStatement(sql).trim() === ''
      ? 'The statement is empty'
      : sql.includes('\0')
        ? 'The statement has a character that SQL does not know'
        : undefined;
  if (bad !== undefined)
    throw new HoldfastError('invalid_input', bad, {
      hint: 'Write one SELECT, such as: select count(*) from users',
    });
}

async function lockOne(tx: WriteTransaction, id: string): Promise<AssertionRow> {
  const row = (await lockAssertions(tx)).find((one) => one.id === id);
  if (row === undefined) throw noAssertion();
  return row;
}

type Drafted = NewAssertion & { id: string; position: number; version: number };

function rowOf({ clock }: { clock: Clock }, actor: Actor, given: Drafted): AssertionRow {
  const { id, position, version, name, sql, expected, runsIn, enabled } = given;
  return {
    ...{ id, position, version, name, enabled, statement: sql, runs_in: runsIn },
    expected,
    changed_at: clock.now(),
    changed_by: actor.id ?? null,
  };
}

async function keepVersion(
  tx: WriteTransaction,
  { clock }: { clock: Clock },
  actor: Actor,
  row: AssertionRow,
  word: 'added' | 'changed' | 'removed',
): Promise<void> {
  const { id, version, name, enabled, statement, runs_in: runsIn } = row;
  await insertVersion(tx, {
    ...{ assertion_id: id, version, name, enabled, statement, runs_in: runsIn },
    ...{ expected: row.expected, changed_at: row.changed_at, changed_by: row.changed_by },
    removed: word === 'removed',
  });
  await recordAudit(tx, clock, actor, {
    action: `restore-tests.assertion.${word}`,
    objectType: 'restore-assertion',
    objectId: id,
    detail: {
      ...{ version, name, enabled, runsIn, sqlSha256: hashStatement(statement) },
      expected: row.expected,
    },
  });
}

async function findAssertion(deps: AssertionDeps, id: string): Promise<Assertion> {
  const rows = (await listAssertionRows(deps.db)).filter((row) => row.id === id);
  const [assertion] = await describe(deps, rows);
  if (assertion === undefined) throw noAssertion();
  return assertion;
}

async function describe(deps: AssertionDeps, rows: readonly AssertionRow[]): Promise<Assertion[]> {
  const names = await nameAll(deps, rows);
  return rows.map((row) => ({
    ...{ id: row.id, ...wordsOf(row, names) },
    sqlSha256: hashStatement(row.statement),
  }));
}

type Words = Omit<AssertionRow, 'id' | 'position'>;

async function nameAll(deps: AssertionDeps, rows: readonly Words[]): Promise<Map<string, { name: string }>> {
  const ids = [...new Set(rows.flatMap((row) => row.changed_by ?? []))];
  return ids.length === 0 ? new Map() : namePeople(deps, ids);
}

function wordsOf(row: Words, names: Map<string, { name: string }>): Omit<AssertionVersion, 'removed'> {
  const { version, name, statement: sql, enabled, changed_by: by } = row;
  return {
    ...{ version, name, sql, enabled, runsIn: row.runs_in as RunsIn },
    expected: row.expected as Expected,
    changedAt: row.changed_at.toISOString(),
    changedBy: by === null ? null : { id: by, name: names.get(by)?.name ?? '' },
  };
}

function noAssertion(): HoldfastError {
  return new HoldfastError('not_found', 'There is no such assertion');
}
