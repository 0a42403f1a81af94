/** The snapshot that a person means: its number, the start of its id, or the newest. */
import type { Snapshot } from '../backups/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { listTargets, pickTarget } from './choose-target.ts';
import type { ControlClient } from './control-client.ts';

/** What an argument or option for a snapshot takes, for help texts. */
export const SNAPSHOT_WORDS = 'its number, the first 8 or more digits of its id, or latest';

interface SnapshotPage {
  items: Snapshot[];
  nextCursor: string | null;
}

/** Every snapshot, newest first, forgotten ones too. */
export async function listSnapshots(client: ControlClient): Promise<Snapshot[]> {
  const snapshots: Snapshot[] = [];
  let cursor: string | null = null;
  do {
    const query: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const page: SnapshotPage = await client.get<SnapshotPage>(`/snapshots?limit=200${query}`);
    snapshots.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return snapshots;
}

/**
 * One of `snapshots` that was not forgotten.
 *
 * @param wanted `latest` when absent
 * @throws HoldfastError `no_repository` when there is none at all, `not_found`, `invalid_input` when it could be several.
 */
export function pickSnapshot(snapshots: readonly Snapshot[], wanted = 'latest'): Snapshot {
  const usable = snapshots.filter((snapshot) => snapshot.state !== 'forgotten');
  const [newest] = usable;
  if (newest === undefined) {
    throw new HoldfastError('no_repository', 'There is no snapshot yet', {
      hint: '`holdfast snapshot` takes one.',
    });
  }
  if (wanted === 'latest') return newest;
  const byNumber = usable.filter((snapshot) => snapshot.number === wanted);
  const isStart = /^[0-9a-f]{8,64}$/.test(wanted);
  const byId = isStart ? usable.filter((snapshot) => snapshot.id.startsWith(wanted)) : [];
  const found = byNumber.length > 0 ? byNumber : byId;
  if (found.length > 1) {
    throw new HoldfastError('invalid_input', `More than one snapshot is meant by ${wanted}`, {
      hint: 'Give more of its id.',
    });
  }
  const [snapshot] = found;
  if (snapshot !== undefined) return snapshot;
  throw new HoldfastError('not_found', `There is no snapshot ${wanted}`, {
    hint: `Say which by ${SNAPSHOT_WORDS}; \`holdfast snapshots\` lists what there is.`,
  });
}

/**
 * A snapshot and a target that holds it: the one that is wanted, else one that could be reached the last time, else any.
 *
 * @throws HoldfastError as `pickSnapshot`; `not_found` when no target, or not that one, holds it whole.
 */
export async function chooseSnapshot(
  client: ControlClient,
  wanted?: string,
  from?: string,
): Promise<{ snapshotId: string; targetId: string }> {
  const id = from === undefined ? undefined : await findTargetId(client, from);
  const all = await listSnapshots(client);
  const there = all.filter(
    ({ targets }) => id === undefined || targets.some((held) => held.id === id && held.state === 'stored'),
  );
  const snapshot = pickSnapshot(there, wanted);
  const failing = new Set(
    (await listTargets(client)).filter((one) => one.lastError !== null).map((one) => one.id),
  );
  const holding = snapshot.targets.filter(
    (candidate) => candidate.state === 'stored' && (id === undefined || candidate.id === id),
  );
  const target = holding.find((candidate) => !failing.has(candidate.id)) ?? holding[0];
  if (target !== undefined) return { snapshotId: snapshot.id, targetId: target.id };
  throw new HoldfastError(
    'not_found',
    `${from ?? 'No target'} ${from === undefined ? 'holds' : 'does not hold'} snapshot ${snapshot.number} whole`,
    {
      hint: 'Choose another one; `holdfast snapshots` says which target holds which.',
    },
  );
}

/** @param wanted its name or id @throws HoldfastError `not_found` */
export async function findTargetId(client: ControlClient, wanted: string): Promise<string> {
  return pickTarget(await listTargets(client), wanted).id;
}
