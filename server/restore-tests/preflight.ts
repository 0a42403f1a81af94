/** What a test would need and what there is, in numbers, before it begins. */
import { readFile, statfs } from 'node:fs/promises';
import { getTarget, openTarget, openTargetConfig, SYSTEM_SECTION } from '../backups/index.ts';
import type { FieldSealer, KeyClient } from '../keys/index.ts';
import { dataPaths } from '../lib/data-folder.ts';
import type { Database } from '../lib/db.ts';
import { findOpenRun } from '../lib/runs.ts';
import { assertionsFor } from './assertions/assertions.ts';
import { chooseCopies, largestOf } from './choose-copy.ts';
import { opensItself } from './opens-itself.ts';
import { listDurations } from './queries.ts';
import type { CopyChoice, KeySource, Preflight, RestoreTestMode } from './schema.ts';

export interface PreflightDeps {
  db: Database;
  dataDir: string;
  keys: Pick<KeyClient, 'status'>;
  sealer: Pick<FieldSealer, 'open'>;
}

export interface PlannedTest extends CopyChoice {
  mode: RestoreTestMode;
  keySource?: KeySource | undefined;
}

type PreflightCheck = Preflight['checks'][number];

const MIB = 1024 ** 2;
/** Room that PostgreSQL needs beside the restored files. */
const SCRATCH_MARGIN_BYTES = 256 * MIB;
/** A test never takes the volume's last twentieth, or its last GiB where that is less. */
const KEEP_FREE_SHARE = 0.05;
const KEEP_FREE_MOST_BYTES = 1024 * MIB;
/** The scratch server with its shared memory, and the run that reads. */
const MEMORY_BYTES = 512 * MIB;
/** The estimate is the middle of so many tests. */
const ESTIMATE_FROM = 5;

/** @throws HoldfastError as `chooseCopies` */
export async function checkPreflight(deps: PreflightDeps, planned: PlannedTest): Promise<Preflight> {
  const largest = await largestOf(deps.db, planned);
  // A test of the system unpacks nothing, and asks nothing of a database.
  const isSystem = planned.mode === 'system';
  const needed = isSystem ? 0 : databaseBytes(largest.sources) + SCRATCH_MARGIN_BYTES;
  const space = await readSpace(deps.dataDir, needed);
  const durations = await listDurations(deps.db, planned.mode, ESTIMATE_FROM);
  const keySource = planned.keySource ?? 'test-identity';
  const asked = await assertionsFor(deps.db, { mode: planned.mode, keySource });
  const checks: PreflightCheck[] = [
    ...(isSystem ? [await checkSystem(deps, planned)] : [space.check, await checkMemory()]),
    await checkKey(deps, keySource, planned),
    await checkWorker(deps.db),
    ...(await checkTargets(deps, planned)),
    ...(isSystem
      ? []
      : [
          {
            name: 'assertions',
            state: 'ok' as const,
            message:
              asked.length === 0 ? 'None of your own are asked' : `${asked.length} of your own are asked`,
          },
        ]),
  ];
  return {
    ok: checks.every((check) => check.state !== 'bad'),
    ...space.numbers,
    place: dataPaths(deps.dataDir).scratch,
    estimateMs: medianOf(durations),
    estimatedFrom: durations.length,
    checks,
  };
}

/** Whether the copy has a section of the machine; what is drawn is drawn at the start. */
async function checkSystem({ db }: PreflightDeps, planned: PlannedTest): Promise<PreflightCheck> {
  const name = 'system';
  const copies = planned.choice === 'random' ? [] : await chooseCopies(db, planned);
  const none = copies.filter(({ sources }) => !sourcesOf(sources).some((one) => one.name === SYSTEM_SECTION));
  return none.length === 0
    ? {
        name,
        state: 'ok',
        message: 'The facts of the appliance and of its machine are read; nothing is unpacked',
      }
    : {
        name,
        state: 'warn',
        message:
          'The copy is not of a machine image: only the facts of the appliance are there to be read, and the report says so',
      };
}

async function readSpace(dataDir: string, needsBytes: number) {
  const volume = await statfs(dataDir);
  const freeBytes = volume.bavail * volume.bsize;
  const keptFreeBytes = Math.min(volume.blocks * volume.bsize * KEEP_FREE_SHARE, KEEP_FREE_MOST_BYTES);
  const fits = freeBytes - needsBytes >= keptFreeBytes;
  const has = `has ${inWords(freeBytes)} free, of which ${inWords(keptFreeBytes)} stay free`;
  return {
    numbers: { needsBytes, freeBytes, keptFreeBytes },
    check: {
      name: 'space',
      state: fits ? ('ok' as const) : ('bad' as const),
      message: `The test unpacks the database on the data volume: it needs ${inWords(needsBytes)}, and the volume ${has}`,
    },
  };
}

/** What Linux could give without swapping; elsewhere nothing is said. */
async function checkMemory(): Promise<PreflightCheck> {
  const text = await readFile('/proc/meminfo', 'utf8').catch(() => '');
  const available = Number(/^MemAvailable:\s+(\d+) kB/m.exec(text)?.[1]) * 1024;
  if (Number.isNaN(available))
    return { name: 'memory', state: 'ok', message: `It needs about ${inWords(MEMORY_BYTES)}` };
  const enough = available >= MEMORY_BYTES;
  const message = `It needs about ${inWords(MEMORY_BYTES)}, and ${inWords(available)} are available`;
  return { name: 'memory', state: enough ? 'ok' : 'warn', message };
}

async function checkKey(
  { db, keys }: PreflightDeps,
  keySource: KeySource,
  planned: PlannedTest,
): Promise<PreflightCheck> {
  const name = 'key';
  const { repository } = await keys.status();
  if (keySource === 'recovery-kit') {
    return repository.kits.length > 0
      ? { name, state: 'ok', message: 'The recovery kit opens it; the keys of this appliance are not asked' }
      : { name, state: 'bad', message: 'There is no recovery kit that opens the backups' };
  }
  if (!repository.generations.some((one) => one.testIdentity))
    return {
      name,
      state: 'bad',
      message: 'This appliance keeps no key that opens its backups: take the kit',
    };
  // What is drawn is drawn at the start: here it is not known.
  const copies = planned.choice === 'random' ? [] : await chooseCopies(db, planned);
  return copies.every(({ takenAt }) => opensItself(repository, takenAt))
    ? { name, state: 'ok', message: 'The test identity of this appliance opens it' }
    : { name, state: 'bad', message: 'It is from before this appliance had a key of its own: take the kit' };
}

async function checkWorker(db: Database): Promise<PreflightCheck> {
  const busy = await findOpenRun(db, 'restore-test');
  return busy === undefined
    ? { name: 'worker', state: 'ok', message: 'No other restore test is under way' }
    : {
        name: 'worker',
        state: 'bad',
        message: 'Another restore test is under way: wait for it, or cancel it',
      };
}

async function checkTargets(deps: PreflightDeps, planned: PlannedTest): Promise<PreflightCheck[]> {
  // What is drawn is drawn at the start: here it is not known.
  if (planned.choice === 'random' && planned.targetId === undefined) return [];
  const ids =
    planned.targetId === undefined
      ? (await chooseCopies(deps.db, planned)).map(({ targetId }) => targetId)
      : [planned.targetId];
  return Promise.all(ids.map((id) => reachTarget(deps, id)));
}

async function reachTarget(deps: PreflightDeps, id: string): Promise<PreflightCheck> {
  const row = await getTarget(deps.db, id);
  const name = `target ${row.name}`;
  try {
    const target = await openTarget(await openTargetConfig(deps, row));
    await target.close();
    return { name, state: 'ok', message: 'It can be reached' };
  } catch {
    return { name, state: 'warn', message: 'It cannot be reached: the test would fail' };
  }
}

/** Only the database is unpacked; files are read as a stream. */
function databaseBytes(sources: unknown): number {
  return sourcesOf(sources)
    .filter((source) => source.kind === 'postgres')
    .reduce((sum, source) => sum + (source.sizeBytes ?? 0), 0);
}

function sourcesOf(sources: unknown): { name?: string; kind?: string; sizeBytes?: number }[] {
  return Array.isArray(sources) ? (sources as { name?: string }[]) : [];
}

function medianOf(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? null;
}

/** In the unit that the page shows beside it. */
function inWords(bytes: number): string {
  const mib = Math.ceil(bytes / MIB);
  return mib < 1024 ? `${mib} MiB` : `${(bytes / (1024 * MIB)).toFixed(1)} GiB`;
}
