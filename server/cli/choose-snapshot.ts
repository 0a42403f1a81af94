/** The snapshot that a person means: its number, the start of its id, or the newest. */
import type { Snapshot, TargetReply } from '../backups/index.ts';
import { HoldfastError } from '../lib/errors.ts';
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

/** A snapshot and a target that holds it. @throws HoldfastError as `pickSnapshot`; `not_found` when no target holds it whole. */
export async function chooseSnapshot(
  client: ControlClient,
  wanted?: string,
  from?: string,
): Promise<{ snapshotId: string; targetId: string }> {
  const id = from === undefined ? undefined : await findTargetId(client, from);
  const all = await listSnapshots(client);
  const there = all.filter(({ targets }) => id === undefined || targets.some((held) => held.id === id));
  const snapshot = pickSnapshot(there, wanted);
  const target = snapshot.targets.find(
    (candidate) => candidate.state === 'stored' && (id === undefined || candidate.id === id),
  );
  if (target !== undefined) return { snapshotId: snapshot.id, targetId: target.id };
  throw new HoldfastError('not_found', `No target holds snapshot ${snapshot.number} whole`, {
    hint: 'Choose another one; `holdfast snapshots` says which target holds which.',
  });
}

/** @param wanted its name or id @throws HoldfastError `not_found` */
export async function findTargetId(client: ControlClient, wanted: string): Promise<string> {
  const { items } = await client.get<{ items: TargetReply[] }>('/targets');
  const found = items.filter(
    ({ id, name, state }) => state === 'active' && (id === wanted || name === wanted),
  );
  const [target] = found;
  if (target !== undefined && found.length === 1) return target.id;
  throw new HoldfastError(
    target === undefined ? 'not_found' : 'invalid_input',
    target === undefined ? `There is no target ${wanted}` : `More than one target is called ${wanted}`,
    { hint: `Targets in use: ${items.map(({ id, name }) => `${name} (${id})`).join(', ') || 'none'}.` },
  );
}
