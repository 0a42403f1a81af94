/**
 * A restore test that a recovery kit opens. The kit stays in this process: only what it opens, this repository's keys
 * and the file keys of its newest keyring, is lent to the run.
 */
import { decryptAge, openAgeHeader, readKeysPlaintext } from '../keys/index.ts';
import type { Snapshot } from '../backups/index.ts';
import type { KitMaterial, RestoreTest, RestoreTestMode } from '../restore-tests/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { ControlClient } from './control-client.ts';

export interface KitTest {
  kitId: string;
  /** Secret. */
  identity: string;
  /** Base64, from the kit; absent when the kit was made a moment ago by this very process. */
  trustRoot?: string;
  mode: RestoreTestMode;
  /** The newest stored one unless said. */
  snapshotId?: string;
}

/** @throws HoldfastError `wrong_key` when the kit is of another appliance, `no_repository` when there is no snapshot yet. */
export async function startKitTest(client: ControlClient, test: KitTest): Promise<RestoreTest> {
  const { snapshotId, targetId } = await chooseSnapshot(client, test.snapshotId);
  const material = await client.get<KitMaterial>(`/restore-tests/kit-material?targetId=${targetId}`);
  if (test.trustRoot !== undefined && material.trustRoot !== test.trustRoot) {
    throw new HoldfastError('wrong_key', 'This recovery kit is not of this appliance', {
      hint: 'Give the kit that was made here.',
    });
  }
  const keys = await decryptAge(Buffer.from(material.keysObject, 'base64'), [test.identity]);
  readKeysPlaintext(keys, {
    repositoryId: material.repositoryId,
    trustRoot: Buffer.from(material.trustRoot, 'base64'),
  });
  const keyringFileKeys = [];
  for (const { name, header } of material.keyring) {
    const { fileKey } = await openAgeHeader(Buffer.from(header, 'base64'), [test.identity]);
    keyringFileKeys.push({ name, fileKey: fileKey.toString('base64') });
  }
  return client.send<RestoreTest>('POST', '/restore-tests', {
    snapshotId,
    targetId,
    mode: test.mode,
    keySource: 'recovery-kit',
    lent: { kitId: test.kitId, keys: keys.toString('base64'), keyringFileKeys },
  });
}

/** A snapshot and a target that holds it; an id may be cut short. */
export async function chooseSnapshot(
  client: ControlClient,
  wanted: string | undefined,
  targetId?: string,
): Promise<{ snapshotId: string; targetId: string }> {
  const { items } = await client.get<{ items: Snapshot[] }>('/snapshots?limit=200');
  const usable = items.filter((snapshot) => snapshot.state !== 'forgotten');
  const found =
    wanted === undefined ? usable.slice(0, 1) : usable.filter((snapshot) => snapshot.id.startsWith(wanted));
  const [snapshot, second] = found;
  if (second !== undefined) {
    throw new HoldfastError('invalid_input', `More than one snapshot starts with ${wanted ?? ''}`, {
      hint: 'Give more of its id.',
    });
  }
  const target = snapshot?.targets.find(
    (candidate) => candidate.state === 'stored' && (targetId ?? candidate.id) === candidate.id,
  );
  if (snapshot !== undefined && target !== undefined) return { snapshotId: snapshot.id, targetId: target.id };
  throw new HoldfastError(
    'no_repository',
    wanted === undefined ? 'There is no snapshot yet' : `There is no snapshot ${wanted}`,
    {
      hint: '`holdfast snapshots` lists what there is; `holdfast snapshot` takes one.',
    },
  );
}
