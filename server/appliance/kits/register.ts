/** "Who could open the backups on that day?", from rows that are never changed: the events of keys, who kept them, and restore tests. */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { toCsv } from '../../lib/csv.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { DAY_MS, keepingOn, registerOn, type KitOnDay } from './fold.ts';
import { openKeepings, type KeepingDeps } from './keepings.ts';
import { listKeepings, listKeyEvents, listKitTests } from './queries.ts';
import type { Keeping, KeyRegister, KitSummary, RegisteredKit } from './schema.ts';

export type RegisterDeps = Pick<KeepingDeps, 'db' | 'clock' | 'sealer'>;

/** A kit that was begun and never proven is told for that long. */
const BEGUN_TOLD_MS = 7 * DAY_MS;

const dayOf = (at: Date): string => at.toISOString().slice(0, 10);
const instant = (at: Date | null | undefined): string | null => at?.toISOString() ?? null;

/**
 * @param on a day (UTC); today when absent.
 * @throws HoldfastError `invalid_input` for a day to come.
 */
export async function readKeyRegister(deps: RegisterDeps, on?: string): Promise<KeyRegister> {
  const now = deps.clock.now();
  const day = on ?? dayOf(now);
  if (day > dayOf(now)) {
    throw new HoldfastError('invalid_input', 'That day is yet to come', {
      hint: 'Ask about today or a day before.',
    });
  }
  const dayStart = new Date(`${day}T00:00:00Z`);
  const [events, rows, tests] = await Promise.all([
    listKeyEvents(deps.db),
    listKeepings(deps.db),
    listKitTests(deps.db),
  ]);
  const state = registerOn(events, dayStart);
  const end = new Date(dayStart.getTime() + DAY_MS);
  const told = state.kits.filter(
    (kit) => kit.state !== 'made' || end.getTime() - (kit.madeAt?.getTime() ?? 0) < BEGUN_TOLD_MS,
  );
  const kept = told.map((kit) =>
    keepingOn(
      rows.filter((row) => row.kitId === kit.id),
      day,
    ),
  );
  const found = kept.filter((row) => row !== undefined);
  const opened = new Map((await openKeepings(deps, found)).map((keeping) => [keeping.id, keeping]));
  const kits = told.map((kit, index) => {
    const tested = tests.findLast((test) => test.kitId === kit.id && test.at < end);
    return toKit(kit, { tested: tested?.at, keeping: opened.get(kept[index]?.id ?? ''), day });
  });
  const retired = told.filter(({ state: is, opens }) => is === 'retired' && opens !== 'nothing');
  const valid = told.filter((kit) => kit.valid && !retired.includes(kit));
  return {
    on: day,
    generations: state.generations.map(({ generation, madeAt }) => ({
      ...{ generation, madeAt: madeAt.toISOString() },
    })),
    kits,
    testIdentity: {
      ...state.testIdentity,
      spans: state.testIdentity.spans.map((span) => ({
        ...{ from: span.from.toISOString(), to: instant(span.to), generations: span.generations },
      })),
    },
    couldOpen: valid.length + retired.length + (state.testIdentity.kept ? 1 : 0),
    couldOpenRetired: retired.length,
  };
}

function toKit(
  kit: KitOnDay,
  { tested, keeping, day }: { tested: Date | undefined; keeping: Keeping | undefined; day: string },
): RegisteredKit {
  const { id, state, generations, opens } = kit;
  const reviewOn = keeping?.reviewOn ?? null;
  return {
    ...{ id, state, madeAt: instant(kit.madeAt ?? kit.addedAt), addedAt: instant(kit.addedAt) },
    ...{ provenAt: instant(kit.provenAt), testedAt: instant(tested), retiredAt: instant(kit.retiredAt) },
    ...{ opens, generations, keeping: keeping ?? null },
    recordedLater: keeping !== undefined && keeping.recordedAt.slice(0, 10) > day,
    reviewOverdue: state === 'proven' && reviewOn !== null && reviewOn < day,
  };
}

/** All that was ever written down of one kit, newest first. @throws HoldfastError `not_found` */
export async function readKeepings(deps: RegisterDeps, kitId: string): Promise<Keeping[]> {
  const [events, rows] = await Promise.all([listKeyEvents(deps.db), listKeepings(deps.db, kitId)]);
  if (!events.some((event) => event.kitId === kitId)) {
    throw new HoldfastError('not_found', 'There is no such recovery kit');
  }
  return (await openKeepings(deps, rows)).reverse();
}

const COLUMNS: readonly [string, (kit: RegisteredKit) => string | null | undefined][] = [
  ['kit', (kit) => kit.id],
  ['state', (kit) => kit.state],
  ['opens', (kit) => kit.opens],
  ['generations', (kit) => kit.generations.join(' ')],
  ['made', (kit) => kit.madeAt],
  ['added', (kit) => kit.addedAt],
  ['last proven', (kit) => kit.provenAt],
  ['last restore test', (kit) => kit.testedAt],
  ['retired', (kit) => kit.retiredAt],
  ['holder', (kit) => kit.keeping?.holder],
  ['place', (kit) => kit.keeping?.place],
  ['handed over on', (kit) => kit.keeping?.handedOverOn],
  ['reference', (kit) => kit.keeping?.reference],
  ['note', (kit) => kit.keeping?.note],
  ['review on', (kit) => kit.keeping?.reviewOn],
  ['written down', (kit) => kit.keeping?.recordedAt],
];

/** For auditors, as CSV: a row for each kit, one for the test identity, and one for each time that the appliance kept one. */
export function registerToCsv(register: KeyRegister): string {
  const { on, testIdentity } = register;
  const identity = [
    ...['test identity', testIdentity.kept ? 'kept here' : 'not kept'],
    ...[testIdentity.opens, testIdentity.generations.join(' ')],
    ...COLUMNS.slice(4).map(() => ''),
  ];
  // `added` and `retired` of such a row: from when to when.
  const spans = testIdentity.spans.map(({ from, to, generations }) => [
    ...['test identity, in use', to === null ? 'kept here' : 'destroyed', '', generations.join(' ')],
    ...COLUMNS.slice(4).map(([name]) => (name === 'added' ? from : name === 'retired' ? (to ?? '') : '')),
  ]);
  const kits = register.kits.map((kit) => COLUMNS.map(([, value]) => value(kit) ?? ''));
  return toCsv([
    ['on', ...COLUMNS.map(([name]) => name)],
    ...[...kits, identity, ...spans].map((row) => [on, ...row]),
  ]);
}

/** It names people: who took it away is written down. */
export async function exportRegister(
  deps: RegisterDeps,
  { on, format = 'csv' }: { on?: string; format?: 'csv' | 'json' },
  actor: Actor,
): Promise<string> {
  const register = await readKeyRegister(deps, on);
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, actor, {
      ...{ action: 'appliance.key-register.exported', objectType: 'key-register' },
      detail: { on: register.on, format, kits: register.kits.length },
    }),
  );
  return format === 'csv' ? registerToCsv(register) : `${JSON.stringify(register, null, 2)}\n`;
}

/** For the overview. Opens nothing that is sealed. */
export async function readKitSummary(deps: Pick<RegisterDeps, 'db' | 'clock'>): Promise<KitSummary> {
  const { kits, lastDrillAt, writeOnlySince } = await readValidKits(deps);
  const first = (values: readonly string[]): string | null => [...values].sort()[0] ?? null;
  return {
    valid: kits.length,
    oldestAddedAt: first(kits.map((kit) => kit.addedAt.toISOString())),
    lastDrillAt: instant(lastDrillAt),
    nextReviewOn: first(kits.flatMap((kit) => kit.reviewOn ?? [])),
    writeOnlySince: instant(writeOnlySince),
  };
}

export interface ValidKit {
  id: string;
  addedAt: Date;
  /** It opened something for the last time: a proof or a restore test. */
  openedAt: Date;
  reviewOn: string | null;
}

/** Kits that count now, and when a kit opened a restore test for the last time. */
export async function readValidKits(
  deps: Pick<RegisterDeps, 'db' | 'clock'>,
): Promise<{ kits: ValidKit[]; lastDrillAt: Date | undefined; writeOnlySince: Date | null }> {
  const [events, rows, tests] = await Promise.all([
    listKeyEvents(deps.db),
    listKeepings(deps.db),
    listKitTests(deps.db),
  ]);
  const today = dayOf(deps.clock.now());
  const state = registerOn(events, new Date(`${today}T00:00:00Z`));
  const kits = state.kits.flatMap((kit): ValidKit[] => {
    if (kit.state !== 'proven' || kit.addedAt === null) return [];
    const tested = tests.findLast((test) => test.kitId === kit.id)?.at ?? kit.addedAt;
    const proven = kit.provenAt ?? kit.addedAt;
    const keeping = keepingOn(
      rows.filter((row) => row.kitId === kit.id),
      today,
    );
    const openedAt = tested > proven ? tested : proven;
    return [{ id: kit.id, addedAt: kit.addedAt, openedAt, reviewOn: keeping?.reviewOn ?? null }];
  });
  const writeOnlySince = state.testIdentity.spans.at(-1)?.to ?? null;
  return { kits, lastDrillAt: tests.at(-1)?.at, writeOnlySince };
}
