/**
 * Room on the data disk and on each target: measured each minute, written down daily and at each snapshot, kept for 400 days. What is
 * said of it is held by levels in a table, so that a figure that goes up and down at a limit is said once.
 */
import { statfs } from 'node:fs/promises';
import { listTargetSpace, locationOf, type TargetSpaceRow } from '../../backups/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database } from '../../lib/db.ts';
import {
  deletePointsBefore,
  findLastPoints,
  findLastStoredAt,
  insertPoint,
  listLevels,
  listPoints,
  saveLevel,
} from './capacity-queries.ts';
import { forecast, forecastLevelOf, levelOf, type Forecast, type Point } from './forecast.ts';
import type { CapacityReply } from './schema.ts';

export interface CapacityDeps {
  db: Database;
  clock: Clock;
  dataDir: string;
}

export const DATA_DISK = 'data-disk';
const DAY_MS = 86_400_000;
const KEEP_DAYS = 400;
/** A share that is away must not hold up the look. */
const DISK_LIMIT_MS = 1_000;

export interface Room {
  /** `data-disk`, or the id of a target. */
  thing: string;
  name: string;
  /** Whole disk, or what we wrote there. */
  usedBytes: number;
  /** Null: not known. */
  freeBytes: number | null;
  /** Where people say how much room there is. */
  quotaBytes: number | null;
  takesQuota: boolean;
}

async function measureRoom(deps: CapacityDeps): Promise<Room[]> {
  const targets = await listTargetSpace(deps.db);
  const disk = await readDisk(deps.dataDir);
  const rooms = await Promise.all(targets.map(roomOf));
  const own: Room[] =
    disk === undefined
      ? []
      : [{ thing: DATA_DISK, name: 'data disk', ...disk, quotaBytes: null, takesQuota: false }];
  return [...own, ...rooms.flat()];
}

async function roomOf(target: TargetSpaceRow): Promise<Room[]> {
  const { id: thing, name, kind, stored_bytes: usedBytes } = target;
  // It is the data disk itself.
  if (target.same_disk) return [];
  if (kind === 'directory') {
    const disk = await readDisk(locationOf(target));
    return disk === undefined ? [] : [{ thing, name, ...disk, quotaBytes: null, takesQuota: false }];
  }
  const quotaBytes = target.quota_bytes === null ? null : Number(target.quota_bytes);
  const said = target.free_bytes === null ? null : Number(target.free_bytes);
  const left = quotaBytes === null ? null : Math.max(0, quotaBytes - usedBytes);
  const freeBytes = left === null ? said : said === null ? left : Math.min(left, said);
  return [{ thing, name, usedBytes, freeBytes, quotaBytes, takesQuota: true }];
}

async function readDisk(path: string): Promise<{ usedBytes: number; freeBytes: number } | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), DISK_LIMIT_MS);
  });
  const asked = statfs(path).then(
    ({ blocks, bfree, bavail, bsize }) => ({
      usedBytes: (blocks - bfree) * bsize,
      freeBytes: bavail * bsize,
    }),
    () => undefined,
  );
  return Promise.race([asked, late]).finally(() => clearTimeout(timer));
}

/** Of what we may use; null where the end is not known. */
function percentOf({ usedBytes, freeBytes }: Pick<Room, 'usedBytes' | 'freeBytes'>): number | null {
  if (freeBytes === null || usedBytes + freeBytes === 0) return null;
  return (usedBytes / (usedBytes + freeBytes)) * 100;
}

/** Each minute. */
export async function recordCapacity(deps: CapacityDeps): Promise<void> {
  const now = deps.clock.now();
  const [rooms, last, storedAt, levels] = [
    await measureRoom(deps),
    await findLastPoints(deps.db),
    await findLastStoredAt(deps.db),
    await listLevels(deps.db),
  ];
  const points = await listPoints(deps.db, new Date(now.getTime() - 31 * DAY_MS));
  await writeTransaction(deps.db, async (tx) => {
    for (const room of rooms) {
      const { thing, usedBytes, freeBytes } = room;
      const before = last.get(thing);
      const due =
        before === undefined ||
        Math.abs(now.getTime() - before.getTime()) >= DAY_MS ||
        (storedAt !== null && storedAt > before && storedAt <= now);
      if (due)
        await insertPoint(tx, {
          thing,
          at: now,
          used_bytes: String(usedBytes),
          free_bytes: freeBytes?.toString() ?? null,
        });
      const known = levels.get(thing);
      const percent = percentOf(room);
      const expected = forecast(pointsOf(points, thing), freeBytes, now);
      const level = percent === null ? 0 : levelOf(percent, known?.level ?? 0);
      const days = expected.state === 'full-in' ? expected.days : null;
      const forecastLevel = forecastLevelOf(days, known?.forecast_level ?? 0);
      if (level !== (known?.level ?? 0) || forecastLevel !== (known?.forecast_level ?? 0))
        await saveLevel(tx, { thing, level, forecast_level: forecastLevel });
    }
    await deletePointsBefore(tx, new Date(now.getTime() - KEEP_DAYS * DAY_MS));
  });
}

function pointsOf(rows: Awaited<ReturnType<typeof listPoints>>, thing: string): Point[] {
  return rows
    .filter((row) => row.thing === thing)
    .map((row) => ({ at: row.at, usedBytes: Number(row.used_bytes) }));
}

interface RoomFinding {
  name: string;
  state: 'warn' | 'bad';
  message: string;
  hint: string;
}

export async function checkCapacity(deps: CapacityDeps): Promise<RoomFinding[]> {
  const now = deps.clock.now();
  const [rooms, levels] = [await measureRoom(deps), await listLevels(deps.db)];
  const points = await listPoints(deps.db, new Date(now.getTime() - 31 * DAY_MS));
  return rooms.flatMap((room) => {
    const before = levels.get(room.thing);
    const percent = percentOf(room);
    const level = percent === null ? 0 : levelOf(percent, before?.level ?? 0);
    const expected = forecast(pointsOf(points, room.thing), room.freeBytes, now);
    return tellRoom(room, {
      level,
      percent: percent ?? 0,
      expected,
      forecastLevel: before?.forecast_level ?? 0,
    });
  });
}

/** Pure. How full the data disk is another check says; what follows from it is said here. */
export function tellRoom(
  room: Room,
  {
    level,
    percent,
    expected,
    forecastLevel,
  }: { level: number; percent: number; expected: Forecast; forecastLevel: number },
): RoomFinding[] {
  const own = room.thing === DATA_DISK;
  const name = own ? room.name : `room on ${room.name}`;
  const free = `${((room.freeBytes ?? 0) / 2 ** 30).toFixed(1)} GiB free`;
  const found: RoomFinding[] = [];
  if (level > 0 && !own) {
    const message = `${Math.floor(percent)} % in use, ${free}`;
    const hint = 'Give it more room, or keep fewer snapshots there. Alerts, Capacity shows how it grew.';
    found.push({ name, state: level === 1 ? 'warn' : 'bad', message, hint });
  }
  if (level === 3 && own) {
    const message = `New files are refused: the data disk is ${Math.floor(percent)} % full`;
    const hint =
      'Delete what is not needed, or give the disk more. Signing in, reading, export and backups go on.';
    found.push({ name: 'uploads', state: 'bad', message, hint });
  }
  if (expected.state === 'full-in' && forecastLevel > 0) {
    const message = `Full in about ${expected.days} days if it grows as in the last 30 days, ${free}`;
    const hint = 'Alerts, Capacity shows how it grew. Make room before then.';
    found.push({ name, state: forecastLevel === 1 ? 'warn' : 'bad', message, hint });
  }
  return found;
}

/** How full the data disk is said to be, from 0 on. */
export async function dataDiskLevel(db: Database, percent: number): Promise<number> {
  return levelOf(percent, (await listLevels(db)).get(DATA_DISK)?.level ?? 0);
}

/** A point a day, the last of each. */
export async function showCapacity(deps: CapacityDeps): Promise<CapacityReply> {
  const now = deps.clock.now();
  const [rooms, rows] = [
    await measureRoom(deps),
    await listPoints(deps.db, new Date(now.getTime() - KEEP_DAYS * DAY_MS)),
  ];
  return {
    items: rooms.map((room) => {
      const own = rows.filter((row) => row.thing === room.thing);
      const daily = [...new Map(own.map((row) => [row.at.toISOString().slice(0, 10), row])).values()];
      const { thing: id, name, usedBytes, freeBytes, quotaBytes, takesQuota } = room;
      const expected = forecast(pointsOf(own, id), freeBytes, now);
      return {
        ...{ id, name, usedBytes, freeBytes, quotaBytes, takesQuota, percent: percentOf(room) },
        forecast: { state: expected.state, days: expected.state === 'full-in' ? expected.days : null },
        points: daily.map((row) => ({
          at: row.at.toISOString(),
          usedBytes: Number(row.used_bytes),
          freeBytes: row.free_bytes === null ? null : Number(row.free_bytes),
        })),
      };
    }),
  };
}
