/** The target that a person means, by its name or id. */
import type { TargetReply } from '../backups/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { ControlClient } from './control-client.ts';

/** What an option for a target takes, for help texts. */
export const TARGET_WORDS = 'its name, or its id';

export async function listTargets(client: ControlClient): Promise<TargetReply[]> {
  return (await client.get<{ items: TargetReply[] }>('/targets')).items;
}

/** Among those in use. @throws HoldfastError `not_found` */
export function pickTarget(targets: readonly TargetReply[], wanted: string): TargetReply {
  const inUse = targets.filter((one) => one.state === 'active');
  const found = inUse.find((one) => one.name === wanted || one.id === wanted);
  if (found !== undefined) return found;
  const names = inUse.map((one) => one.name).join(', ');
  throw new HoldfastError('not_found', `There is no target ${wanted} in use`, {
    hint: names === '' ? 'Add one in the browser first.' : `In use: ${names}.`,
  });
}

/** `/targets/<id>` of the one that is wanted; `/targets` for all of them. */
export async function targetPath(client: ControlClient, wanted: string | undefined): Promise<string> {
  if (wanted === undefined) return '/targets';
  return `/targets/${pickTarget(await listTargets(client), wanted).id}`;
}
