/** Collects "are we safe?" from the tables, the disks and the keyring, and lets `verdict.ts` decide. */
import {
  findRetentionTrouble,
  findShippingTrouble,
  listBehind,
  locationOf,
  measureLoss,
  readFreeBytes,
  readQuarantine,
  readRule,
} from '../backups/index.ts';
import type { Database } from '../lib/db.ts';
import { checkMailHealth } from '../mail/index.ts';
import { listRuns } from '../lib/runs.ts';
import { listSchedules } from '../lib/schedules.ts';
import { readTestSchedule } from '../restore-tests/index.ts';
import { checkHealth, readDataDisk, type HealthDeps } from './health.ts';
import {
  countLiveFiles,
  countNewestCopies,
  findDamage,
  findNewestProof,
  findNewestSnapshot,
  listCoverageDays,
  listTargetFacts,
  type DayFacts,
  type ProofFacts,
  type TargetFacts,
} from './overview-queries.ts';
import { getAppliance } from './queries.ts';
import type { HealthCheck, Overview } from './schema.ts';
import { isOverdue, type ScheduleFacts } from './schedule-state.ts';
import { checkKits } from './kits/checks.ts';
import { readKitSummary } from './kits/register.ts';
import { decideVerdict } from './verdict.ts';

export type OverviewDeps = HealthDeps;

const DAY_MS = 86_400_000;
const COVERAGE_DAYS = 365;
/** Counting every file takes time that a page which refreshes itself should not spend each time. */
const COUNT_KEPT_MS = 15_000;

export async function readOverview(deps: OverviewDeps): Promise<Overview> {
  const now = deps.clock.now();
  const [
    appliance,
    targets,
    snapshot,
    proof,
    schedules,
    testSchedule,
    checks,
    dataDisk,
    protects,
    activeRuns,
    copies,
    rule,
    kits,
    loss,
    quarantine,
  ] = await Promise.all([
    getAppliance(deps.db),
    listTargetFacts(deps.db),
    findNewestSnapshot(deps.db),
    findNewestProof(deps.db),
    listSchedules(deps.db),
    readTestSchedule(deps),
    checkEverything(deps),
    readDataDisk(deps),
    countFiles(deps),
    listRuns(deps.db, { open: true, limit: 50 }),
    countNewestCopies(deps.db),
    readRule(deps.db),
    readKitSummary(deps),
    measureLoss(deps),
    readQuarantine(deps.db),
  ]);
  const schedule = (name: string): ScheduleFacts | undefined => {
    const row = schedules.find((candidate) => candidate.name === name);
    return row && { enabled: row.enabled, nextDueAt: row.next_due_at, lastDueAt: row.last_due_at };
  };
  const snapshotOverdue = isOverdue(schedule('snapshot'), snapshot?.taken_at ?? null, now);
  const lastSnapshot = snapshot === undefined ? null : toLastSnapshot(snapshot);
  const { verdict, sentences } = decideVerdict({
    targets: targets.map((target) => ({
      name: target.name,
      sameDisk: target.same_disk,
      snapshotCount: target.complete_count,
      lastProblem: (target.last_error as { message: string } | null)?.message ?? null,
    })),
    lastSnapshot,
    lastProven: proof === undefined ? null : toProofFacts(proof),
    held: quarantine !== undefined,
    snapshotOverdue,
    restoreTestOverdue: testSchedule.overdue,
    writeOnly: kits.writeOnlySince !== null,
    copies: copies === undefined ? null : { ...copies, needed: rule.needed, total: rule.total },
    damage: checks
      .filter((check) => PROOF_CHECKS.includes(check.name) && check.state === 'bad')
      .map(({ message, hint }) => `${message}. ${hint ?? ''}`),
  });
  return {
    verdict,
    sentences,
    lastSnapshot,
    lastProven: proof === undefined ? null : toLastProven(proof),
    loss,
    targets: await Promise.all(targets.map(toTarget)),
    nextSnapshotAt: nextOf(schedule('snapshot')),
    nextRestoreTestAt: testSchedule.nextDueAt,
    restoreTestOverdue: testSchedule.overdue,
    snapshotOverdue,
    dataDisk,
    protects,
    kits,
    needsYou: checks.filter((check) => check.state !== 'ok'),
    activeRuns,
    coverage: await readCoverage(deps, appliance.claimed_at ?? appliance.created_at, now),
  };
}

/** Every health check, those of the targets included. */
export async function checkEverything(deps: OverviewDeps): Promise<HealthCheck[]> {
  return checkHealth(deps, {
    targets: checkTargets,
    kits: checkKits,
    proofs: checkProofs,
    mail: checkMail,
    retention: async (given) => [...(await checkRetention(given)), ...(await checkCopies(given))],
    'point in time': checkShipping,
  });
}

/** Checks that speak of what is stored: what they find, the verdict says too. */
const PROOF_CHECKS: readonly string[] = ['restore test', 'verification'];

/** What the newest restore test and verification found wrong. It stays said until the next of its kind is well. */
async function checkProofs(deps: Pick<HealthDeps, 'db'>): Promise<HealthCheck[]> {
  const { tests, verifications } = await findDamage(deps.db);
  const at = (instant: Date) => `${instant.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
  return [
    ...tests.map(({ targetName, finishedAt }): HealthCheck => ({
      name: 'restore test',
      state: 'bad',
      message: `The newest restore test, of ${targetName}, failed on ${at(finishedAt)}`,
      hint: 'Its report names each check. Take a snapshot, then test that one.',
    })),
    ...verifications.map(({ targetName, finishedAt }): HealthCheck => ({
      name: 'verification',
      state: 'bad',
      message: `The newest verification of ${targetName} found damage on ${at(finishedAt)}`,
      hint: 'The log of that run names each object. Take a snapshot, which stores again what it can, then verify.',
    })),
  ];
}

async function checkMail(deps: HealthDeps): Promise<HealthCheck[]> {
  return [{ name: 'mail', ...(await checkMailHealth(deps)) }];
}

async function checkTargets(deps: HealthDeps): Promise<HealthCheck[]> {
  const targets = await listTargetFacts(deps.db);
  if (targets.length === 0) {
    const hint = 'Add one under Targets; until then nothing leaves this machine.';
    return [{ name: 'targets', state: 'warn', message: 'There is no target', hint }];
  }
  return targets.map((target): HealthCheck => {
    const name = `target ${target.name}`;
    const problem = target.last_error as { message?: string; hint?: string } | null;
    if (problem !== null) {
      const hint = problem.hint ?? 'Try the target again on its page.';
      return { name, state: 'bad', message: problem.message ?? 'The last write to it failed', hint };
    }
    if (target.same_disk) {
      const hint = 'It is lost together with the data. Retire it and add a target on another machine.';
      return { name, state: 'warn', message: 'Local copy, not offsite', hint };
    }
    const last = target.last_ok_at?.toISOString().slice(0, 16).replace('T', ' ');
    return {
      name,
      state: 'ok',
      message: last === undefined ? 'Nothing written yet' : `Last written ${last} UTC`,
    };
  });
}

/** Says something only where a policy needs people. */
async function checkRetention(deps: HealthDeps): Promise<HealthCheck[]> {
  return (await findRetentionTrouble(deps)).map(({ targetName, message, hint }) => ({
    ...{ name: `retention on ${targetName}`, state: 'warn' as const, message, hint },
  }));
}

const HURRY =
  'It catches up by itself then. Its page catches it up now; longer hours there keep it from falling behind.';

/** Targets that lag behind the others, and copies too few. One that is away says so itself, by its own check. */
async function checkCopies(deps: HealthDeps): Promise<HealthCheck[]> {
  const [rule, copies, behind] = await Promise.all([
    readRule(deps.db),
    countNewestCopies(deps.db),
    listBehind(deps),
  ]);
  const checks = behind.map(({ name, count, since, waits }): HealthCheck => {
    const snapshots = count === 1 ? 'a snapshot' : `${String(count)} snapshots`;
    return {
      name: `copies on ${name}`,
      state: 'warn',
      message: `It is behind by ${snapshots}, since ${since.toISOString().slice(0, 16).replace('T', ' ')} UTC${waits === undefined ? '' : `: ${waits}`}`,
      hint:
        waits === undefined
          ? 'It catches up by itself once it can be reached; its page says how far it is.'
          : HURRY,
    };
  });
  if (copies === undefined || copies.have >= rule.needed) return checks;
  const message = `The newest snapshot is on ${String(copies.have)} of ${String(rule.total)} targets, and has to be on ${String(rule.needed)}`;
  const waiting = behind.flatMap(({ name, waits }) => (waits === undefined ? [] : [`${name}: ${waits}`]));
  const hint = ['The page of each target says what it waits for.', ...waiting].join(' ');
  return [{ name: 'copies', state: 'bad', message, hint }, ...checks];
}

/** The measured RPO, where it is beyond its objective, and whatever keeps the log from being shipped. */
async function checkShipping(deps: HealthDeps): Promise<HealthCheck[]> {
  return (await findShippingTrouble(deps)).map(({ targetName, ...found }) => ({
    name: `point in time on ${targetName}`,
    ...found,
  }));
}

function toLastSnapshot(row: { id: string; taken_at: Date; state: string; size_bytes: string }) {
  return {
    id: row.id,
    takenAt: row.taken_at.toISOString(),
    state: row.state,
    sizeBytes: Number(row.size_bytes),
  };
}

function toProofFacts(row: ProofFacts) {
  return {
    at: (row.finished_at ?? row.snapshot_taken_at).toISOString(),
    grade: row.grade ?? 'data-proven',
    targetName: row.target_name,
    sameDisk: row.same_disk,
    snapshotTakenAt: row.snapshot_taken_at.toISOString(),
  };
}

function toLastProven(row: ProofFacts): NonNullable<Overview['lastProven']> {
  return {
    restoreTestId: row.id,
    snapshotId: row.snapshot_id,
    at: (row.finished_at ?? row.snapshot_taken_at).toISOString(),
    grade: row.grade ?? 'data-proven',
    targetName: row.target_name,
    keySource: row.key_source,
    rtoMs: Number(row.rto_ms ?? 0),
    rpoMs: row.rpo_ms === null ? null : Number(row.rpo_ms),
    rtoObjectiveMs: row.rto_objective_ms === null ? null : Number(row.rto_objective_ms),
    rpoObjectiveMs: row.rpo_objective_ms === null ? null : Number(row.rpo_objective_ms),
  };
}

async function toTarget(row: TargetFacts): Promise<Overview['targets'][number]> {
  const location = locationOf(row);
  return {
    id: row.id,
    name: row.name,
    location,
    sameDisk: row.same_disk,
    lastOkAt: row.last_ok_at?.toISOString() ?? null,
    lastError: row.last_error as Overview['targets'][number]['lastError'],
    snapshotCount: row.snapshot_count,
    storedBytes: row.stored_bytes,
    freeBytes:
      row.kind === 'directory'
        ? await readFreeBytes(location, row.probe)
        : ((row.probe as { freeBytes?: number | null } | null)?.freeBytes ?? null),
    provenAt: row.proven_at?.toISOString() ?? null,
  };
}

function nextOf(schedule: ScheduleFacts | undefined): string | null {
  return schedule?.enabled === true ? (schedule.nextDueAt?.toISOString() ?? null) : null;
}

const counted = new WeakMap<Database, { at: number; value: Promise<Overview['protects']> }>();

async function countFiles(deps: OverviewDeps): Promise<Overview['protects']> {
  const known = counted.get(deps.db);
  const now = deps.clock.monotonicMs();
  if (known !== undefined && now - known.at < COUNT_KEPT_MS) return known.value;
  const value = countLiveFiles(deps.db);
  counted.set(deps.db, { at: now, value });
  value.catch(() => counted.delete(deps.db));
  return value;
}

async function readCoverage(deps: OverviewDeps, since: Date, now: Date): Promise<Overview['coverage']> {
  const today = Math.floor(now.getTime() / DAY_MS);
  const first = Math.max(Math.floor(since.getTime() / DAY_MS), today - COVERAGE_DAYS + 1);
  const facts = new Map(
    (await listCoverageDays(deps.db, new Date(first * DAY_MS))).map((row) => [row.day, row]),
  );
  return Array.from({ length: Math.max(0, today - first + 1) }, (_, index) => {
    const day = new Date((first + index) * DAY_MS).toISOString().slice(0, 10);
    return { day, state: stateOfDay(facts.get(day)) };
  });
}

function stateOfDay(facts: DayFacts | undefined): Overview['coverage'][number]['state'] {
  if (facts === undefined) return 'none';
  if (facts.proven) return 'proven';
  if (facts.stored) return 'stored';
  return facts.partial ? 'partial' : 'failed';
}
