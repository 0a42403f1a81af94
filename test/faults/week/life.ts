/**
 * A week of an appliance with two targets, whose clock the test moves: files come, change and go each hour, a snapshot is taken each night,
 * and what can go wrong does so by the seed. What each snapshot must hold is remembered beside it.
 */
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dataPaths } from '../../../server/lib/data-folder.ts';
import { startDueRuns } from '../../../server/lib/schedules.ts';
import type { Snapshot } from '../../../server/backups/schema.ts';
import { expectStatus, OWNER } from '../../helpers/appliance.ts';
import { killRunAt, queueScheduledRun, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import type { BadLine, Mishap as Trouble } from '../../helpers/s3-server.ts';
import { addSecondTarget, COPY_DEATHS, namesOn } from '../../helpers/second-target.ts';
import { chanceOf, type Chance } from './chance.ts';
import { catchUp, comeAndGo, damageSecond, isWhole, type ListFirst, type Second } from './second.ts';

const HOUR_MS = 3_600_000;
export const WEEK_HOURS = 168;
/** At which the nightly snapshot is taken, and what follows it. */
const SNAPSHOT_HOUR = 3;
const PRUNE_HOUR = 5;
const TEST_HOUR = 6;
const PART_HOUR = 7;
/** Of most days: something on the second target is damaged then, and everything is read back in the evening. */
const DAMAGE_HOUR = 12;
const VERIFY_HOUR = 21;
const CYCLE_DAYS = 3;

/** Where the process of a snapshot dies. */
const DEATHS = [
  'backups.writer.claimed',
  'backups.pack.written',
  'backups.pack.read-back',
  'backups.packs.indexed',
  'backups.index.recorded',
  'snapshot.keyring-published',
  'backups.keyring.recorded',
  'backups.snapshot.recorded',
  'snapshot.published',
  'backups.head.recorded',
  'snapshot.head-published',
  'target.object.written',
  'target.object.linked',
  'backups.forget.noted',
  'backups.forget.published',
  'backups.forget.recorded',
  'backups.prune.indexed',
  'backups.prune.deleted',
  ...COPY_DEATHS,
] as const;

const MISHAPS = [
  'none',
  'killed',
  'killed',
  'killed',
  'refused',
  'bad line',
  'garbled line',
  'cancelled',
  'catalogue lost',
  'catalogue damaged',
  'clock set back',
] as const;
type Mishap = (typeof MISHAPS)[number];
/** Of a line; each is over at the next try. */
const TROUBLES: readonly Trouble[] = [
  { kind: 'answer', status: 503 },
  { kind: 'answer', status: 500 },
  { kind: 'cut-before' },
  { kind: 'cut-after' },
  { kind: 'short', bytes: 100 },
];
/** How a run may end otherwise than well: part of a pack that was garbled on its way looks like damage. */
const MAY_FAIL: readonly Mishap[] = ['killed', 'cancelled', 'refused', 'garbled line'];

/** One try to take a snapshot, and what was there when it was made. */
interface Attempt {
  /** Milliseconds of the appliance's clock. */
  from: number;
  to: number;
  files: ReadonlyMap<string, Buffer>;
}

export interface Week {
  /** What happened, a line each. */
  diary: string[];
  attempts: Attempt[];
  /** Runs that ended otherwise than they should have. */
  surprises: string[];
}

interface Places {
  /** Leads to the first target. */
  line: BadLine;
  listFirst: ListFirst;
}

/** @param week is filled as it goes on, so that it tells what happened up to a failure. */
export async function liveThroughWeek(
  appliance: StockedAppliance,
  { line, listFirst }: Places,
  { week, seed }: { week: Week; seed: number },
): Promise<Second> {
  line.now = () => appliance.clock.now();
  const life = await beginLife(appliance, line, { week, seed });
  const { chance, second } = life;
  for (let hour = 1; hour <= WEEK_HOURS; hour++) {
    appliance.clock.offsetMs = hour * HOUR_MS;
    await changeFiles(life);
    note(life, hour, await comeAndGo(second, chance));
    const ofDay = hour % 24;
    if (ofDay === SNAPSHOT_HOUR) life.due = true;
    if (life.due) await trySnapshot(life, hour, chance.pick(MISHAPS));
    else await catchUpNow(life, hour);
    if (ofDay === PRUNE_HOUR) await expectRun(life, 'prune', { policy: true });
    if (ofDay === TEST_HOUR && hour > 48 && hour % 48 < 24) await testRestore(life);
    // Every other day, so that what was missed is owed too.
    if (ofDay === PART_HOUR && hour % 48 < 24) await readPart(life);
    if (ofDay === DAMAGE_HOUR && second.awayHours === 0 && chance.percent(60))
      note(life, hour, await damageSecond(second, chance, listFirst));
    if (ofDay === VERIFY_HOUR && second.damaged.length > 0) await repair(life);
  }
  await endWell(life);
  return second;
}

/** The last night is quiet: the newest snapshot has what is there, and each target has what its policy keeps. */
async function endWell(life: Life): Promise<void> {
  const { appliance, second } = life;
  if (second.awayHours > 0) await second.back();
  second.awayHours = 0;
  if (second.damaged.length > 0) await repair(life);
  await trySnapshot(life, WEEK_HOURS, 'none');
  for (let hour = 1; hour < 8; hour++) {
    appliance.clock.offsetMs += HOUR_MS;
    await catchUpNow(life, WEEK_HOURS + hour);
  }
  await expectRun(life, 'verify', {});
}

function note(life: Life, hour: number, words: string | undefined): void {
  if (words !== undefined) life.diary.push(`${dayOf(hour)}: ${words}`);
}

async function catchUpNow(life: Life, hour: number): Promise<void> {
  const { appliance, chance, second } = life;
  const end = await catchUp(appliance, chance);
  note(life, hour, end?.words);
  // What is damaged is copied from nowhere.
  const may = end === undefined || ['succeeded', 'killed'].includes(end.state);
  if (!may && second.awayHours === 0 && second.damaged.length === 0) life.surprises.push(end.words);
}

/** Of the newest copy on each target, when both are there and whole. */
async function testRestore(life: Life): Promise<void> {
  const both = life.second.awayHours === 0 && life.second.damaged.length === 0;
  await expectRun(life, 'restore-test', { mode: 'quick', ...(both ? { copy: 'every-target' } : {}) });
}

/** By the schedule, which is due. */
async function readPart(life: Life): Promise<void> {
  const started = await startDueRuns(life.appliance.deps);
  if (started.includes('verify')) await performExpected(life, 'verify of a part');
  else life.surprises.push('no part was due');
}

/** What is damaged is found and made whole by the first target's copies, unless nothing needs it any more: whatever the run says is looked up. */
async function repair(life: Life): Promise<void> {
  const { appliance, second } = life;
  await queueScheduledRun(appliance, 'verify', {});
  const run = await appliance.performRun();
  const line = `verify, with ${second.damaged.join(' and ')} damaged: ${describe(run)}`;
  life.diary.push(line);
  const needed = await namesOn(appliance, second.path);
  const left = second.damaged.filter((name) => needed.has(name) && !isWhole(second, name));
  const repaired = run.state === 'partial' && run.error?.code === 'repaired';
  if (left.length > 0 || (run.state !== 'succeeded' && !repaired))
    life.surprises.push([line, `still damaged: ${left.join(' and ') || 'nothing'}`, ...run.lines].join('\n'));
  second.damaged = [];
}

interface Life extends Week {
  second: Second;
  appliance: StockedAppliance;
  line: BadLine;
  chance: Chance;
  /** A snapshot has been due and was not taken yet. */
  due: boolean;
  key: string;
  numbers: number;
}

/** A program writes the files: its key does not end when nobody is there for an hour. */
async function beginLife(
  appliance: StockedAppliance,
  line: BadLine,
  { week, seed }: { week: Week; seed: number },
): Promise<Life> {
  const { owner, workspaceId, targetId } = appliance;
  const made = await expectStatus(
    owner.call<{ token: string }>('POST', '/api-keys', {
      ...{ name: 'writer', workspaceId, rights: ['files.read', 'files.write'] },
    }),
    201,
  );
  const policy = {
    kind: 'rules',
    ...{ last: 2, hourly: 0, daily: 3, weekly: 1, monthly: 0, yearly: 0, withinDays: 0 },
    ...{ minimumCount: 2, maximumAgeDays: null, timeZone: 'UTC' },
  };
  await expectStatus(owner.call('PUT', `/targets/${targetId}/retention`, { policy }), 200);
  const added = await addSecondTarget(appliance, 'second', { retention: policy });
  // The week's hours begin now, the schedule's at midnight.
  const due = new Date(appliance.clock.now().getTime() + PART_HOUR * HOUR_MS).getUTCHours();
  const schedule = { cron: `0 ${String(due)} * * *`, enabled: true, days: CYCLE_DAYS };
  await expectStatus(owner.call('PUT', '/schedules/verify', schedule), 200);
  return {
    ...{ appliance, line, chance: chanceOf(seed), due: false, key: made.token, numbers: 0 },
    ...week,
    second: { ...added, awayHours: 0, damaged: [] },
  };
}

async function changeFiles(life: Life): Promise<void> {
  const { appliance, chance } = life;
  for (let count = 1 + chance.number(3); count > 0; count--) {
    const names = [...appliance.files.keys()];
    if (names.length > 5 && chance.percent(30)) await removeFile(life, chance.pick(names));
    else if (names.length > 0 && chance.percent(40)) await putFile(life, chance.pick(names));
    else await putFile(life, nameOf(life));
  }
}

function nameOf({ chance, numbers }: Life): string {
  const kind = chance.pick([
    'letter',
    'Übersicht',
    '日本',
    'with space',
    "quote'",
    '.hidden',
    'a'.repeat(180),
  ]);
  return `${kind} ${String(numbers)}`;
}

/** Repeated text, chance, or nothing at all; once in a while more than one chunk. */
function contentOf({ chance }: Life): Buffer {
  if (chance.percent(5)) return Buffer.alloc(0);
  if (chance.percent(2)) return Buffer.concat(Array.from({ length: 40 }, () => chance.bytes(65_536)));
  if (chance.percent(50)) return chance.bytes(1 + chance.number(40_000));
  return Buffer.alloc(1 + chance.number(120_000), `line ${String(chance.number(1_000))}\n`);
}

async function putFile(life: Life, name: string): Promise<void> {
  const { appliance, key } = life;
  life.numbers += 1;
  const content = contentOf(life);
  const path = `/folders/${appliance.rootFolderId}/files?onConflict=replace&name=${encodeURIComponent(name)}`;
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/octet-stream' };
  const node = await expectStatus(
    appliance.stranger.call<{ id: string }>('PUT', path, content, { headers }),
    201,
  );
  appliance.files.set(name, content);
  ids(appliance).set(name, node.id);
}

async function removeFile(life: Life, name: string): Promise<void> {
  const { appliance, key } = life;
  const path = `/nodes/${ids(appliance).get(name) ?? ''}`;
  const headers = { authorization: `Bearer ${key}` };
  await expectStatus(appliance.stranger.call('DELETE', path, undefined, { headers }), 204);
  appliance.files.delete(name);
}

const known = new WeakMap<StockedAppliance, Map<string, string>>();
/** Of files by name. */
function ids(appliance: StockedAppliance): Map<string, string> {
  const present = known.get(appliance) ?? new Map<string, string>();
  known.set(appliance, present);
  return present;
}

async function trySnapshot(life: Life, hour: number, mishap: Mishap): Promise<void> {
  const { appliance, attempts } = life;
  if (mishap === 'clock set back') appliance.clock.offsetMs -= 20 * 60_000;
  const attempt = { from: appliance.clock.now().getTime(), to: 0, files: new Map(appliance.files) };
  attempts.push(attempt);
  await queueScheduledRun(appliance, 'snapshot', {});
  const end = await performWith(life, mishap);
  life.line.strike = () => undefined;
  attempt.to = appliance.clock.now().getTime();
  life.diary.push(`${dayOf(hour)}: snapshot, ${mishap}: ${end}`);
  const { awayHours, damaged } = life.second;
  // Where one target has it, it is taken; the other gets it later.
  const taken = end === 'succeeded' || end.startsWith('partial');
  const well = end === 'succeeded' || (taken && (awayHours > 0 || damaged.length > 0));
  life.due = !taken;
  if (!well && !MAY_FAIL.includes(mishap)) life.surprises.push(life.diary.at(-1) ?? '');
}

/** @returns how the run ended. */
async function performWith(life: Life, mishap: Mishap): Promise<string> {
  const { appliance, chance, line } = life;
  const catalogues = dataPaths(appliance.dataDir).catalogue;
  switch (mishap) {
    case 'killed': {
      const point = chance.pick(DEATHS);
      const { signal, exitCode } = await killRunAt(appliance, point);
      // A point that this run does not come to: it ends as it should, and is recorded as failed by the test's own hand.
      return `${signal ?? `exit ${String(exitCode)}`} at ${point}`;
    }
    case 'refused':
      line.strike = () => ({ kind: 'answer', status: 403 });
      return describe(await appliance.performRun());
    case 'bad line':
      line.strike = () => (chance.percent(4) ? chance.pick(TROUBLES) : undefined);
      return describe(await appliance.performRun());
    case 'garbled line':
      line.strike = () => (chance.percent(4) ? { kind: 'garbled' } : undefined);
      return describe(await appliance.performRun());
    case 'cancelled':
      return describe(await appliance.performRun(AbortSignal.timeout(chance.number(1_500))));
    case 'catalogue lost':
      rmSync(catalogues, { recursive: true, force: true });
      return describe(await appliance.performRun());
    case 'catalogue damaged':
      for (const name of readdirSync(catalogues).filter((one) => one.endsWith('.sqlite')))
        writeFileSync(join(catalogues, name), chance.bytes(8_192), { flag: 'r+' });
      return describe(await appliance.performRun());
    case 'clock set back':
    case 'none':
      return describe(await appliance.performRun());
  }
}

function describe(run: { state: string; error?: unknown }): string {
  return run.state === 'succeeded' ? 'succeeded' : `${run.state} ${JSON.stringify(run.error)}`;
}

async function expectRun(
  life: Life,
  kind: 'prune' | 'restore-test' | 'verify',
  input: Record<string, string | boolean>,
): Promise<void> {
  await queueScheduledRun(life.appliance, kind, input);
  await performExpected(life, kind);
}

async function performExpected(life: Life, what: string): Promise<void> {
  const { awayHours, damaged } = life.second;
  const run = await life.appliance.performRun();
  const line = `${what}: ${describe(run)}`;
  life.diary.push(line);
  // What is done on each target is done on the one that is there; damage waits for the evening.
  const half = run.state === 'partial' && (awayHours > 0 || damaged.length > 0);
  if (run.state !== 'succeeded' && !half) life.surprises.push([line, ...run.lines].join('\n'));
}

function dayOf(hour: number): string {
  return `day ${String(Math.floor(hour / 24))} ${String(hour % 24).padStart(2, '0')}:00`;
}

/** Those that are still listed, the newest first, with where they lie. */
export async function retainedSnapshots(appliance: StockedAppliance): Promise<Snapshot[]> {
  const owner = await appliance.signIn(OWNER.email, OWNER.password);
  const { items } = await expectStatus(owner.call<{ items: Snapshot[] }>('GET', '/snapshots?limit=200'), 200);
  return items.filter((one) => one.state !== 'forgotten');
}

export function isOn({ targets }: Snapshot, targetId: string): boolean {
  return targets.some((one) => one.id === targetId && one.state === 'stored');
}

/** What a snapshot must hold: the files of the try in whose time it was taken. */
export function filesOf(week: Week, { takenAt, number }: Snapshot): ReadonlyMap<string, Buffer> {
  const at = Date.parse(takenAt);
  const attempt = week.attempts.findLast(({ from, to }) => from <= at && at <= to);
  if (attempt === undefined) throw new Error(`Snapshot ${number} was taken at no known time, ${takenAt}`);
  return attempt.files;
}
