/** A keyd with a claimed repository, in a process of this script: what signs heads of the log. */
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  answerKitChallenge,
  connectKeyd,
  createKeydCredentials,
  credentialPath,
  generateAgeIdentity,
  openKeyringFile,
  readCredentials,
  rootKeyFile,
  rootKeyPath,
  startKeyd,
  trustInRoot,
  type KeyClient,
} from '../../../server/keys/index.ts';
import type { LogTrust } from '../../../server/audit/index.ts';
import { systemClock as clock } from '../../../server/lib/clock.ts';
import { dataPaths } from '../../../server/lib/data-folder.ts';

export interface Signer {
  keys: KeyClient;
  trust: LogTrust;
  close(): Promise<void>;
}

export async function startSigner(folder: string): Promise<Signer> {
  const directory = join(folder, 'keyring');
  const run = join(folder, 'keyd');
  const socketPath = dataPaths(folder).keydSocket;
  for (const one of [directory, run, dirname(socketPath)]) mkdirSync(one, { recursive: true, mode: 0o711 });
  await createKeydCredentials(run);
  const keyring = await openKeyringFile({ directory, rootKey: rootKeyFile(rootKeyPath(directory)) });
  const keyd = await startKeyd({
    ...{ socketPath, keyring, clock, directory },
    credentials: await readCredentials(run),
    onRefused: () => undefined,
  });
  const keys = await connectKeyd({
    socketPath,
    credentialFile: credentialPath(run, 'server'),
    role: 'server',
  });
  const pair = await generateAgeIdentity();
  const { repositoryId, trustRoot } = await keys.prepareRepository();
  const { kitId, challenge } = await keys.beginKit(pair.recipient);
  await keys.proveKit(kitId, await answerKitChallenge(kitId, pair.identity, challenge));
  await keys.claimRepository({});
  return {
    keys,
    trust: trustInRoot(Buffer.from(trustRoot, 'base64'), repositoryId),
    async close() {
      await keys.close();
      await keyd.close();
      await keyring.close();
    },
  };
}
