/**
 * Tries out a target before it is trusted with backups: writes, reads, lists and deletes a small object, looks at its free
 * space, its clock, and whether it lies on the same disk as the data. Says what it found in plain words.
 */
import { randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import type { Clock } from '../../lib/clock.ts';
import { HoldfastError, isSystemError, messageOf } from '../../lib/errors.ts';
import { TEMPORARY_PREFIX } from '../../lib/files.ts';
import type { Target, TargetConfig } from '../engine.ts';
import type { TargetProbe } from '../schema.ts';
import { readHint } from '../hint.ts';
import { openTarget } from './open-target.ts';
import { HINT_NAME } from './object-name.ts';
import { checkBucketRegion, checkLock, checkServer, regionIsSaid } from './probe-s3.ts';
import { checkFeatures, isThisMachine, meetServer } from './probe-server.ts';

/** Said of a target that burns, drowns or is stolen together with the data. */
export const LOCAL_COPY_LABEL = 'local copy, not offsite';

/** Below this a target is said to be short of space. */
const LOW_SPACE_BYTES = 5 * 1024 ** 3;
const CLOCK_TOLERANCE_MS = 60 * 60 * 1000;
/** What an empty disk may hold. */
const IGNORED_ENTRIES = new Set(['lost+found', '.Trash-0', '.DS_Store']);

export type Check = TargetProbe['checks'][number];

interface ProbeOptions {
  /** The data folder, for the question whether both lie on one disk. */
  dataPath: string;
  clock: Clock;
}

/** Never throws for what is wrong with the target: that is the result. Leaves nothing behind. */
export async function probeTarget(config: TargetConfig, options: ProbeOptions): Promise<TargetProbe> {
  const checks: Check[] = [];
  const result = {
    at: options.clock.now().toISOString(),
    sameDisk: false,
    freeBytes: null as number | null,
    existingRepository: null as string | null,
    hostKey: undefined as TargetProbe['hostKey'],
    regionSaid: undefined as boolean | undefined,
  };
  if (config.kind === 'sftp') {
    const met = await meetServer(config);
    checks.push(met.check);
    result.hostKey = met.hostKey;
    if (met.check.state === 'bad') return toProbe(result, checks);
  }
  let target: Target;
  try {
    target = await openTarget(config);
  } catch (error) {
    const refused = error instanceof HoldfastError && error.code === 'target_refused';
    return toProbe(result, [...checks, bad(refused ? 'sign-in' : 'reach', error)]);
  }
  try {
    if (config.kind === 'sftp') checks.push(good('sign-in', `Signed in as ${config.username}.`));
    const what = config.kind === 's3' ? 'bucket' : 'folder';
    if (config.kind === 's3') checks.push(good('sign-in', 'The server accepts this key.'));
    checks.push(good('reach', `The ${what} is there.`));
    const features = config.kind === 's3' ? await target.features() : undefined;
    if (config.kind === 's3' && features !== undefined) {
      const region = checkBucketRegion(config, features);
      checks.push(region);
      if (region.state === 'bad') return toProbe(result, checks);
      result.regionSaid = regionIsSaid(features);
    }
    result.sameDisk =
      config.kind === 'directory'
        ? await liesOnSameDisk(config.path, options.dataPath)
        : await isThisMachine(config.kind === 'sftp' ? config.host : new URL(config.endpoint).hostname);
    checks.push(placeCheck(config, result.sameDisk));
    result.existingRepository = await findRepository(target);
    checks.push(await contentCheck(target, result.existingRepository));
    checks.push(...(await tryWriting(target)));
    checks.push(...(await checkFeatures(target)));
    if (config.kind === 's3' && features !== undefined) {
      checks.push(...checkServer(features), await checkLock(config, features, target));
    }
    result.freeBytes = (await target.freeBytes()) ?? null;
    checks.push(spaceCheck(result.freeBytes));
    checks.push(clockCheck(await target.now(), options.clock.now()));
  } catch (error) {
    checks.push(bad('reach', error));
  } finally {
    await target.close();
  }
  return toProbe(result, checks);
}

function toProbe(
  {
    hostKey,
    regionSaid,
    ...result
  }: Omit<TargetProbe, 'ok' | 'checks' | 'hostKey' | 'regionSaid'> & {
    hostKey: TargetProbe['hostKey'];
    regionSaid: boolean | undefined;
  },
  checks: Check[],
): TargetProbe {
  const ok = !checks.some((check) => check.state === 'bad');
  const said = regionSaid === undefined ? {} : { regionSaid };
  return { ok, ...result, ...said, ...(hostKey === undefined ? {} : { hostKey }), checks };
}

/** True when both paths are on one file system, so that one failure takes both. */
async function liesOnSameDisk(targetPath: string, dataPath: string): Promise<boolean> {
  try {
    const [target, data] = await Promise.all([stat(targetPath), stat(dataPath)]);
    return target.dev === data.dev;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    throw error;
  }
}

/** Writes, reads, lists and deletes in a folder of its own, which a repository never has, so that nothing of one is touched. */
async function tryWriting(top: Target): Promise<Check[]> {
  let trial: Awaited<ReturnType<Target['openTrial']>>;
  try {
    trial = await top.openTrial();
  } catch (error) {
    const { code = messageOf(error) } = (error instanceof Error ? (error.cause ?? {}) : {}) as {
      code?: string;
    };
    return [{ name: 'write', state: 'bad', message: `Nothing can be written here: ${code}.` }];
  }
  const { target } = trial;
  try {
    const name = `keys/probe-${randomBytes(8).toString('hex')}`;
    const content = randomBytes(64 * 1024);
    await target.create(name, content);
    const checks: Check[] = [await tryOverwriting(target, name)];
    const read = await target.read(name);
    checks.push(
      read.equals(content)
        ? good('read', 'What was written reads back the same.')
        : {
            name: 'read',
            state: 'bad',
            message: 'What was written reads back different. Replace this disk.',
          },
    );
    const listed: string[] = [];
    for await (const object of target.list('keys/')) listed.push(object.name);
    checks.push(
      listed.includes(name)
        ? good('list', 'Objects are listed.')
        : { name: 'list', state: 'bad', message: 'A written object does not appear in the listing.' },
    );
    await target.delete(name);
    checks.push({
      name: 'delete',
      state: 'warn',
      message:
        'This appliance can delete here, and so could someone who takes it over. A second target that refuses deletion guards against that.',
    });
    return checks;
  } catch (error) {
    return [bad('write', error)];
  } finally {
    await trial.remove();
  }
}

/** Whoever creates a name second must hear of it: on that rests that there is one writer. */
async function tryOverwriting(target: Target, name: string): Promise<Check> {
  try {
    await target.create(name, Buffer.from('a second writer'));
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== 'conflict') throw error;
    return good('write', 'Objects can be written, durably and only once.');
  }
  return {
    name: 'write',
    state: 'bad',
    message: 'A name that is taken is overwritten here, so that two writers would not notice each other.',
  };
}

async function findRepository(target: Target): Promise<string | null> {
  const hint = await readHint(target);
  if (hint !== undefined) return hint.repository;
  for await (const object of target.list('keys/')) return object.name;
  return null;
}

async function contentCheck(target: Target, existing: string | null): Promise<Check> {
  if (existing !== null) {
    return { name: 'content', state: 'warn', message: 'There is a backup repository here already.' };
  }
  const entries = (await target.topEntries()).filter((name) => name !== HINT_NAME && !isIgnored(name));
  if (entries.length === 0) return good('content', 'The folder is empty.');
  return {
    name: 'content',
    state: 'bad',
    message: `The folder is not empty (${String(entries.length)} entries that are not ours). Choose an empty one.`,
  };
}

/** True for what may lie in a folder that counts as empty. */
export function isIgnored(name: string): boolean {
  return IGNORED_ENTRIES.has(name) || name.startsWith(TEMPORARY_PREFIX);
}

function placeCheck({ kind }: TargetConfig, same: boolean): Check {
  const there = kind === 'directory' ? 'disk' : 'machine';
  if (!same) return good('place', `It lies on another ${there} than the data.`);
  return {
    name: 'place',
    state: 'warn',
    message: `It lies on the same ${there} as the data: a ${LOCAL_COPY_LABEL}. What destroys the ${there} destroys both.`,
  };
}

function spaceCheck(freeBytes: number | null): Check {
  if (freeBytes === null) return good('space', 'This target does not say how much space is free.');
  const text = `${(freeBytes / 1024 ** 3).toFixed(1)} GiB are free.`;
  return freeBytes < LOW_SPACE_BYTES ? { name: 'space', state: 'warn', message: text } : good('space', text);
}

function clockCheck(theirs: Date | undefined, ours: Date): Check {
  if (theirs === undefined) return good('clock', 'This target has no clock of its own.');
  const apart = Math.abs(theirs.getTime() - ours.getTime());
  if (apart <= CLOCK_TOLERANCE_MS) return good('clock', 'Its clock agrees with ours.');
  const minutes = String(Math.round(apart / 60_000));
  return {
    name: 'clock',
    state: 'warn',
    message: `Its clock is ${minutes} minutes away from ours. Nothing is deleted until they agree.`,
  };
}

function good(name: string, message: string): Check {
  return { name, state: 'ok', message };
}

function bad(name: string, error: unknown): Check {
  const hint = error instanceof HoldfastError && error.hint !== undefined ? `. ${error.hint}` : '';
  return { name, state: 'bad', message: `${messageOf(error)}${hint}` };
}
