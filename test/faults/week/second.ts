/**
 * What befalls the second target of a week, a directory: its disk is away for hours, an object on it is damaged that the first target has
 * too, and copies are brought to it, or from it, each hour, which may be killed.
 */
import { chmodSync, existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sha256Of } from '../../../server/backups/objects/object-names.ts';
import { hashInName } from '../../../server/backups/repository/hash-in-name.ts';
import { COPY_DEATHS, objectsBelow, queueDueCopy, type SecondTarget } from '../../helpers/second-target.ts';
import { killRunAt, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import type { Chance } from './chance.ts';

export interface Second extends SecondTarget {
  /** Hours that its disk is still away; 0 when it is there. */
  awayHours: number;
  /** Names of what is damaged on it and was not repaired yet. */
  damaged: string[];
}

/** Names of objects as the first target holds them. */
export type ListFirst = () => Promise<string[]>;

/** Comes back when its time is over; else, once in a while, goes away. Not with damage on it: the first one would prune meanwhile what repairs it. */
export async function comeAndGo(second: Second, chance: Chance): Promise<string | undefined> {
  if (second.awayHours > 0) {
    second.awayHours -= 1;
    if (second.awayHours > 0) return undefined;
    await second.back();
    return 'second is back';
  }
  if (second.damaged.length > 0 || !chance.percent(2)) return undefined;
  second.awayHours = 1 + chance.number(30);
  await second.away();
  return `second is away for ${String(second.awayHours)} hours`;
}

/** Flips, cuts or removes an object that the first target holds as well. */
export async function damageSecond(
  second: Second,
  chance: Chance,
  listFirst: ListFirst,
): Promise<string | undefined> {
  const both = new Set(await listFirst());
  const names = (await objectsBelow(second.path))
    .filter((name) => /^(packs|snapshots|keyring)\//.test(name) && both.has(name))
    .sort();
  if (names.length === 0) return undefined;
  const name = chance.pick(names);
  const file = join(second.path, name);
  const bytes = readFileSync(file);
  const how = chance.pick(['flipped', 'cut short', 'removed'] as const);
  if (how === 'removed') rmSync(file);
  else chmodSync(file, 0o600);
  if (how === 'cut short') truncateSync(file, chance.number(bytes.length));
  if (how === 'flipped') {
    const at = chance.number(bytes.length);
    bytes.writeUInt8(bytes.readUInt8(at) ^ (1 + chance.number(255)), at);
    writeFileSync(file, bytes);
  }
  second.damaged.push(name);
  return `${name} is ${how} on second`;
}

export function isWhole(second: Second, name: string): boolean {
  const file = join(second.path, name);
  return existsSync(file) && sha256Of(readFileSync(file)) === hashInName(name);
}

/** What the appliance does each minute: whoever lacks something is caught up. @returns what happened, undefined when nothing was lacking. */
export async function catchUp(
  appliance: StockedAppliance,
  chance: Chance,
): Promise<{ words: string; state: string } | undefined> {
  if (!(await queueDueCopy(appliance))) return undefined;
  if (chance.percent(15)) {
    const point = chance.pick(COPY_DEATHS);
    const { signal, exitCode } = await killRunAt(appliance, point);
    return { words: `copy: ${signal ?? `exit ${String(exitCode)}`} at ${point}`, state: 'killed' };
  }
  const run = await appliance.performRun();
  const detail = run.state === 'succeeded' ? '' : ` ${[JSON.stringify(run.error), ...run.lines].join('\n')}`;
  return { words: `copy: ${run.state}${detail}`, state: run.state };
}
