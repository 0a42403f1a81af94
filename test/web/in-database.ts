/** Makes an appliance look as if time had passed: what a test cannot wait for is changed where it is kept. */
import { dataPaths } from '../../server/lib/data-folder.ts';
import { ADMIN_ROLE, socketAddress, withClient } from '../../server/lib/postgres/index.ts';

type Act = Parameters<typeof withClient>[2];

/** @param act is given a connection of the database's superuser. */
export async function inDatabase({ dataDir }: { dataDir: string }, act: Act): Promise<void> {
  const address = socketAddress(dataPaths(dataDir).databaseSocket, ADMIN_ROLE, 'holdfast');
  await withClient(address, 'superuser', act);
}
