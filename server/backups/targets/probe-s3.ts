/** What a trial asks of an S3 server beyond writing and reading: where the bucket stands, what it keeps, what it locks. */
import { HoldfastError } from '../../lib/errors.ts';
import { systemClock } from '../../lib/clock.ts';
import type { S3Config, Target } from '../engine.ts';
import type { Check } from './probe.ts';

/** Beginnings of features that carry a word of the server. */
const REGION = 'region=';
const DEFAULT_LOCK = 'default-lock=';
const TRIED_LOCK_MS = 60_000;

function wordOf(features: ReadonlySet<string>, beginning: string): string | undefined {
  return [...features].find((one) => one.startsWith(beginning))?.slice(beginning.length);
}

/** Before anything is written. */
export function checkBucketRegion(config: S3Config, features: ReadonlySet<string>): Check {
  const said = wordOf(features, REGION);
  if (said === undefined) {
    return {
      name: 'region',
      state: 'ok',
      message: `The server does not say where it stands; you say ${config.region}.`,
    };
  }
  if (said === config.region)
    return { name: 'region', state: 'ok', message: `The bucket stands in ${said}, as was said.` };
  return {
    name: 'region',
    state: 'bad',
    message: `The bucket stands in ${said}, and not in ${config.region}. Nothing was written there.`,
  };
}

/** True when the server itself names the region. */
export function regionIsSaid(features: ReadonlySet<string>): boolean {
  return wordOf(features, REGION) !== undefined;
}

export function checkServer(features: ReadonlySet<string>): Check[] {
  const once: Check = features.has('conditional-writes')
    ? { name: 'once', state: 'ok', message: 'The server itself refuses a name that is taken.' }
    : {
        name: 'once',
        state: 'warn',
        message:
          'The server has no conditional writes: this appliance looks first, and asks others to wait. Let nothing else write here.',
      };
  const versions: Check = features.has('versions')
    ? {
        name: 'versions',
        state: 'ok',
        message:
          'The bucket keeps versions. The first version of each object counts; what is no longer needed is deleted with all its versions.',
      }
    : {
        name: 'versions',
        state: 'ok',
        message: 'The bucket keeps no versions: what is deleted is gone.',
      };
  return [once, versions];
}

/** What is locked, and, where a lock is asked for, that it holds: an object locked for a minute must refuse to go. */
export async function checkLock(
  config: S3Config,
  features: ReadonlySet<string>,
  top: Target,
): Promise<Check> {
  const { lock } = config;
  const usually = wordOf(features, DEFAULT_LOCK);
  const also = usually === undefined ? '' : ` The bucket itself locks what is new: ${usually}.`;
  const on = features.has('object-lock');
  if (lock === undefined) {
    if (!on) return { name: 'lock', state: 'ok', message: 'Nothing is locked here.' };
    return {
      name: 'lock',
      state: usually === undefined ? 'warn' : 'ok',
      message: `The bucket can lock objects${usually === undefined ? ', but this target does not use it.' : '.'}${also}`,
    };
  }
  if (!on) {
    return {
      name: 'lock',
      state: 'bad',
      message:
        'This bucket cannot lock objects. Most servers allow that only when a bucket is made: make one with object lock.',
    };
  }
  return tryLock(top, `${lock.mode}, ${String(lock.days)} days${also === '' ? '' : `.${also.slice(0, -1)}`}`);
}

async function tryLock(top: Target, kind: string): Promise<Check> {
  const trial = await top.openTrial();
  try {
    const name = 'keys/locked-for-a-minute';
    await trial.target.create(name, Buffer.from('may go in a minute\n'));
    const until = new Date(((await trial.target.now()) ?? systemClock.now()).getTime() + TRIED_LOCK_MS);
    await trial.target.holdUntil?.(name, { atLeast: until, until });
    const held = await trial.target.delete(name);
    if (held !== undefined) {
      return {
        name: 'lock',
        state: 'ok',
        message: `The lock holds (${kind}): an object that was locked for a minute refused to be deleted.`,
      };
    }
    return {
      name: 'lock',
      state: 'bad',
      message: 'An object that was locked for a minute could be deleted: the lock does not hold.',
    };
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return {
      name: 'lock',
      state: 'bad',
      message: `Nothing can be locked here: ${error.message}. Allow this key to set the retention of objects.`,
    };
  } finally {
    // What is locked stays for its minute, and is swept before the next snapshot.
    await trial.remove();
  }
}
