/**
 * A restore test that a recovery kit opens. The kit stays in this process: only what it opens, this repository's keys
 * and the file keys of its newest keyring, is lent to the run.
 */
import { decryptAge, openAgeHeader, readKeysPlaintext } from '../keys/index.ts';
import type { KitMaterial, LentKeys, RestoreTest, RestoreTestMode } from '../restore-tests/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { chooseSnapshot } from './choose-snapshot.ts';
import type { ControlClient } from './control-client.ts';

export interface KitTest {
  kitId: string;
  /** Secret. */
  identity: string;
  /** Base64, from the kit; absent when the kit was made a moment ago by this very process. */
  trustRoot?: string;
  mode: RestoreTestMode;
  /** As `pickSnapshot` takes it. */
  snapshot?: string;
  /** Its name or id. */
  target?: string;
}

/** @throws as `lendKit` */
export async function startKitTest(client: ControlClient, test: KitTest): Promise<RestoreTest> {
  const { snapshotId, targetId } = await chooseSnapshot(client, test.snapshot, test.target);
  const { mode } = test;
  const lent = await lendKit(client, test, targetId);
  return client.send<RestoreTest>('POST', '/restore-tests', {
    ...{ snapshotId, targetId, mode, keySource: 'recovery-kit', lent },
  });
}

/**
 * Opens what lies on a target with the kit.
 *
 * @throws HoldfastError `wrong_key` when the kit is of another appliance, `no_repository` when there is no snapshot yet.
 */
export async function lendKit(
  client: ControlClient,
  kit: Pick<KitTest, 'kitId' | 'identity' | 'trustRoot'>,
  targetId: string,
): Promise<LentKeys> {
  const material = await client.get<KitMaterial>(`/restore-tests/kit-material?targetId=${targetId}`);
  if (kit.trustRoot !== undefined && material.trustRoot !== kit.trustRoot) {
    throw new HoldfastError('wrong_key', 'This recovery kit is not of this appliance', {
      hint: 'Give the kit that was made here.',
    });
  }
  const open = async (object: string): Promise<string> => {
    const keys = await decryptAge(Buffer.from(object, 'base64'), [kit.identity]);
    readKeysPlaintext(keys, {
      repositoryId: material.repositoryId,
      trustRoot: Buffer.from(material.trustRoot, 'base64'),
    });
    return keys.toString('base64');
  };
  const keys = await open(material.keysObject);
  const older = material.olderKeysObjects.map((object) =>
    open(object).catch((error: unknown) => {
      // One that came after write-only use was not given what is older.
      if (error instanceof HoldfastError && error.code === 'wrong_key') return undefined;
      throw error;
    }),
  );
  const olderKeys = (await Promise.all(older)).filter((one) => one !== undefined);
  const keyringFileKeys = [];
  for (const { name, header } of material.keyring) {
    const { fileKey } = await openAgeHeader(Buffer.from(header, 'base64'), [kit.identity]);
    keyringFileKeys.push({ name, fileKey: fileKey.toString('base64') });
  }
  return { kitId: kit.kitId, keys, olderKeys, keyringFileKeys };
}
