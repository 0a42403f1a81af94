/** What the page does with a kit: opens the keys object and the keyring's headers, and lends what came out. */
import { decryptAge, openAgeHeader } from '../../server/keys/index.ts';
import type { KitMaterial, LentKeys } from '../../server/restore-tests/schema.ts';
import { expectStatus } from '../helpers/appliance.ts';
import type { StockedAppliance } from '../helpers/stocked-appliance.ts';

export async function lendFromKit(appliance: StockedAppliance): Promise<LentKeys> {
  const { owner, kit, targetId } = appliance;
  const material = await expectStatus(
    owner.call<KitMaterial>('GET', `/restore-tests/kit-material?targetId=${targetId}`),
    200,
  );
  const open = async (object: string): Promise<string> =>
    (await decryptAge(Buffer.from(object, 'base64'), [kit.identity])).toString('base64');
  const keyringFileKeys = [];
  for (const { name, header } of material.keyring) {
    const { fileKey } = await openAgeHeader(Buffer.from(header, 'base64'), [kit.identity]);
    keyringFileKeys.push({ name, fileKey: fileKey.toString('base64') });
  }
  return {
    ...{ kitId: kit.id, keys: await open(material.keysObject), keyringFileKeys },
    // A kit that came after write-only use was not given what is older.
    olderKeys: (await Promise.allSettled(material.olderKeysObjects.map(open))).flatMap((one) =>
      one.status === 'fulfilled' ? [one.value] : [],
    ),
  };
}
