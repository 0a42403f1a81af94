/**
 * On a target that locks what it holds: what retained snapshots need stays locked as long as is promised of a snapshot of now. Objects
 * that snapshots share were locked when they were written; their locks are made longer here, at the end of a snapshot's run.
 *
 * Bounded: so many objects are looked at in one run, those whose locks end first, and the next run goes on. What is known of a lock is
 * kept in the catalogue, so that a run asks only for those that it does not know or that end too early.
 */
import type { ObjectLock } from '../engine.ts';
import { numberedName, packName } from '../objects/object-names.ts';
import { lockEnd, lockNeeded } from '../targets/s3/lock-times.ts';
import { findLivePacks } from './live-packs.ts';
import { listNames } from './listing.ts';
import type { WriterState } from './writer-state.ts';

const MOST_AT_A_TIME = 5_000;
const AT_ONCE = 8;

export interface LockReport {
  /** Asked for at the target, made longer, and not come to. */
  looked: number;
  renewed: number;
  left: number;
}

/** @throws HoldfastError as `findLivePacks` and the target do. */
export async function renewLocks(
  state: WriterState,
  lock: ObjectLock,
  most = MOST_AT_A_TIME,
): Promise<LockReport> {
  const { target, catalogue } = state.repository;
  const { holdUntil } = target;
  if (holdUntil === undefined) return { looked: 0, renewed: 0, left: 0 };
  const now = (await target.now()) ?? state.clock.now();
  const needed = lockNeeded(lock, now);
  const names = await neededObjects(state);
  catalogue.forgetLocks(new Set([...names, ...catalogue.removals().map((mark) => mark.name)]));
  const short = names
    .map((name) => ({ name, until: catalogue.lockOf(name)?.getTime() ?? 0 }))
    .filter(({ until }) => until < needed.getTime())
    .sort((a, b) => a.until - b.until);
  const chosen = short.slice(0, most);
  const until = lockEnd(lock, now);
  let renewed = 0;
  for (let at = 0; at < chosen.length; at += AT_ONCE) {
    await state.claim.check();
    const batch = chosen.slice(at, at + AT_ONCE);
    const locked = await Promise.all(
      batch.map(async ({ name }) => {
        const end = await holdUntil(name, { atLeast: needed, until });
        return { name, end };
      }),
    );
    for (const { name, end } of locked) {
      if (end.getTime() === until.getTime()) renewed++;
      catalogue.noteLock(name, end);
    }
  }
  return { looked: chosen.length, renewed, left: short.length - chosen.length };
}

/** All that it takes to restore the retained snapshots, and the keys to open them. */
async function neededObjects(state: WriterState): Promise<string[]> {
  const { target, catalogue } = state.repository;
  const live = await findLivePacks(state.repository, state.snapshots);
  const packs = [...catalogue.packs()].filter((pack) => live.packs.has(pack.row) && pack.state !== 'missing');
  return [
    ...(await listNames(target, 'keys/')),
    ...(state.keyring?.objects ?? []),
    ...(state.lastHead === null ? [] : [numberedName('heads', state.lastHead)]),
    ...state.snapshots.map((one) => numberedName('snapshots', one)),
    ...state.indexes.map((one) => numberedName('index', one)),
    ...packs.map((pack) => packName(pack.id)),
  ];
}
