/**
 * Runs that hang, take too long, or are not begun: work that nobody sees failing. A run has moved when its step, its figures or its log did;
 * that its process lives is no progress.
 */
import { recordAudit, systemActor, type Actor } from '../../audit/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { RunKind, RunProgress } from '../../lib/run-schema.ts';
import { appendRunLog, requestCancel, LONG_RESTORES } from '../../lib/runs.ts';
import {
  listBadEndings,
  listLimitRows,
  listOpenRuns,
  noteStopped,
  saveLimit,
  type OpenRunRow,
} from './run-limit-queries.ts';
import type { RunLimit } from './schema.ts';

export interface RunWatchDeps {
  db: Database;
  clock: Clock;
}

const MINUTE_MS = 60_000;
/** A queued run that nobody takes for this long, while there is room beside what is under way. */
const UNTAKEN_MS = 15 * MINUTE_MS;
/** As many as the worker does at once. */
const MOST_AT_ONCE = 2;

/** Minutes without progress; what reads whole repositories may be silent for longer. */
const STALL_MINUTES: Record<RunKind, number> = {
  snapshot: 30,
  'restore-test': 30,
  'restore-file': 30,
  'restore-folder': 30,
  'restore-directory': 30,
  verify: 60,
  prune: 60,
  copy: 60,
  'update-rehearsal': 30,
  'publish-keys': 30,
  'audit-anchor': 30,
  'audit-verify': 60,
};
const KINDS = Object.keys(STALL_MINUTES) as RunKind[];

export async function readRunLimits(db: Database): Promise<RunLimit[]> {
  const rows = new Map((await listLimitRows(db)).map((row) => [row.kind, row]));
  return KINDS.map((kind) => {
    const row = rows.get(kind);
    if (row === undefined)
      return { kind, stallMinutes: STALL_MINUTES[kind], limitMinutes: null, stops: false };
    return { kind, stallMinutes: row.stall_minutes, limitMinutes: row.limit_minutes, stops: row.stops };
  });
}

/** Kinds that are left out stay as they are. @throws HoldfastError `invalid_input` */
export async function changeRunLimits(
  deps: RunWatchDeps,
  actor: Actor,
  items: readonly RunLimit[],
): Promise<RunLimit[]> {
  if (new Set(items.map(({ kind }) => kind)).size !== items.length)
    throw new HoldfastError('invalid_input', 'A kind of work stands there twice');
  for (const { kind, limitMinutes, stops } of items)
    if (stops && limitMinutes === null)
      throw new HoldfastError('invalid_input', `A ${kind} is to be stopped beyond its limit, and has none`, {
        hint: 'Give the minutes that it may take.',
      });
  return writeTransaction(deps.db, async (tx) => {
    const from = await readRunLimits(tx);
    for (const item of items) await saveLimit(tx, item);
    const to = await readRunLimits(tx);
    const changed = to.filter((one, index) => JSON.stringify(one) !== JSON.stringify(from[index]));
    await recordAudit(tx, deps.clock, actor, {
      action: 'monitoring.run-limits.changed',
      objectType: 'settings',
      objectId: 'run-limits',
      detail: {
        from: from.filter(({ kind }) => changed.some((one) => one.kind === kind)).map((one) => ({ ...one })),
        to: changed.map((one) => ({ ...one })),
      },
    });
    return to;
  });
}

interface RunFinding {
  name: string;
  state: 'warn' | 'bad';
  message: string;
  hint: string;
}

export async function checkRuns({ db, clock }: RunWatchDeps): Promise<RunFinding[]> {
  const [open, limits, ended] = [await listOpenRuns(db), await readRunLimits(db), await listBadEndings(db)];
  const now = clock.now();
  const found = open.flatMap((run) =>
    judgeRun(
      run,
      limits.find(({ kind }) => kind === run.kind),
      now,
    ),
  );
  return [...found, ...judgeQueue(open, now), ...ended.flatMap(judgeEnding)];
}

/** Pure. */
function judgeRun(run: OpenRunRow, limit: RunLimit | undefined, now: Date): RunFinding[] {
  if (run.started_at === null || limit === undefined) return [];
  const name = `run of ${run.kind}`;
  const hint = 'The page of the run shows where it stands, and cancels it.';
  const minutesSince = (at: Date) => Math.floor((now.getTime() - at.getTime()) / MINUTE_MS);
  const still = minutesSince(run.progressed_at ?? run.started_at);
  const took = minutesSince(run.started_at);
  const found: RunFinding[] = [];
  if (limit.stallMinutes !== null && still >= limit.stallMinutes) {
    const where = tellPlace(run);
    found.push({
      name,
      state: 'bad',
      message: `A ${run.kind} has not moved for ${still} minutes${where}`,
      hint,
    });
  }
  if (limit.limitMinutes !== null && took >= limit.limitMinutes) {
    const message = `A ${run.kind} is under way for ${took} minutes; its limit is ${limit.limitMinutes}`;
    found.push({ name, state: 'bad', message, hint });
  }
  return found;
}

function tellPlace({ step, progress }: OpenRunRow): string {
  const { filesDone, filesTotal, bytesDone } = progress as RunProgress;
  const of = filesTotal === undefined ? '' : ` of ${filesTotal}`;
  const words = [
    step ?? '',
    filesDone === undefined ? '' : `${filesDone}${of} files`,
    bytesDone === undefined ? '' : `${(bytesDone / 1024 ** 2).toFixed(0)} MiB`,
  ].filter((word) => word !== '');
  return words.length === 0 ? '' : ` (${words.join(', ')})`;
}

/** A worker that is gone takes nothing, and nothing fails. */
function judgeQueue(open: readonly OpenRunRow[], now: Date): RunFinding[] {
  const running = open.filter(({ state }) => state === 'running');
  const restores = running.some(({ kind }) => isLongRestore(kind));
  // A long restore waits for the one before it.
  const first = open.find(({ state, kind }) => state === 'queued' && !(restores && isLongRestore(kind)));
  if (first === undefined || running.length >= MOST_AT_ONCE) return [];
  const waits = now.getTime() - first.created_at.getTime();
  if (waits < UNTAKEN_MS) return [];
  const message = `A ${first.kind} waits for ${Math.floor(waits / MINUTE_MS)} minutes, and no worker takes it`;
  return [
    {
      name: 'worker',
      state: 'bad',
      message,
      hint: 'Look into the log of the worker, or restart the appliance.',
    },
  ];
}

function isLongRestore(kind: string): boolean {
  return (LONG_RESTORES as readonly string[]).includes(kind);
}

/** Of snapshots and restore tests that failed other checks tell, as of damage that was found. */
const TOLD_ELSEWHERE: readonly string[] = [
  ...['snapshot', 'restore-test', 'update-rehearsal'],
  ...['restore-file', 'restore-folder', 'restore-directory'],
];

function judgeEnding({
  kind,
  stopped_because: because,
  error,
}: Awaited<ReturnType<typeof listBadEndings>>[number]): RunFinding[] {
  if (because !== null) {
    const hint = 'Look at its log. Give it more time under Alerts, Limits, or take away what holds it up.';
    return [
      { name: `last ${kind}`, state: 'bad', message: `The last ${kind} was stopped: ${because}`, hint },
    ];
  }
  const { code, message, hint } = (error ?? {}) as { code?: string; message?: string; hint?: string };
  if (code === 'integrity_failure' || TOLD_ELSEWHERE.includes(kind)) return [];
  return [
    {
      ...{ name: `last ${kind}`, state: 'warn' },
      message: `The last ${kind} failed: ${message ?? 'see its log'}`,
      hint: hint ?? 'The log of the run says more.',
    },
  ];
}

/** Each minute: cancels what is beyond its limit, where an administrator chose so. @returns ids */
export async function stopOverdueRuns(deps: RunWatchDeps): Promise<string[]> {
  const limits = await readRunLimits(deps.db);
  const stopped: string[] = [];
  for (const run of await listOpenRuns(deps.db)) {
    const limit = limits.find(({ kind }) => kind === run.kind);
    if (run.started_at === null || limit?.limitMinutes == null || !limit.stops) continue;
    const tookMs = deps.clock.now().getTime() - run.started_at.getTime();
    if (tookMs < limit.limitMinutes * MINUTE_MS || run.cancel_requested_at !== null) continue;
    const because = `It took longer than its limit of ${limit.limitMinutes} minutes${tellPlace(run)}`.slice(
      0,
      500,
    );
    const done = await writeTransaction(deps.db, async (tx) => {
      if (!(await noteStopped(tx, run.id, because))) return false;
      await requestCancel(tx, deps.clock, run.id);
      await recordAudit(tx, deps.clock, systemActor('monitoring'), {
        action: 'monitoring.run.stopped',
        objectType: 'run',
        objectId: run.id,
        detail: { kind: run.kind, because },
      });
      return true;
    });
    if (!done) continue;
    await appendRunLog(deps.db, deps.clock, run.id, { level: 'error', message: `Stopped. ${because}` });
    stopped.push(run.id);
  }
  return stopped;
}
