/** The keyring of a recovered appliance, from the newest keyring objects that the kit opens. */
import {
  keyringFromObjects,
  newestKeyringNames,
  openKeyringObject,
  restoreKeyring,
  signStatement,
  type RepositoryWriteKeys,
} from '../keys/index.ts';
import { dataPaths } from '../lib/data-folder.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { RecoveryParts } from './recover-plan.ts';
import type { Repository } from './repository/open-repository.ts';

export async function recoverKeyring(
  parts: RecoveryParts,
): Promise<{ count: number; writeKeys: RepositoryWriteKeys }> {
  const { options, repository, snapshot } = parts;
  const signingKeys = repository.keys.generations.flatMap((generation) => [...generation.signingKeys]);
  const reader = { repositoryId: repository.id, signingKeys };
  const { bases, additions } = newestKeyringNames([
    // A piece of the log may have brought a newer one than the head knows.
    ...new Set([...repository.keyringObjects(), ...(parts.point?.last?.keyring.objects ?? [])]),
  ]);
  const plaintexts: Buffer[] = [];
  for (const name of [...bases, ...additions]) {
    const stored = await repository.target.read(name);
    plaintexts.push(await openKeyringObject(stored, [options.kit.ageIdentity], { ...reader, name }));
  }
  const epoch = Math.max(
    Number(repository.head?.keyring?.epoch ?? 0),
    Number(parts.point?.last?.keyring.epoch ?? 0),
  );
  if (plaintexts.length === 0 || epoch < Number(snapshot.keyringEpoch)) {
    throw new HoldfastError(
      'integrity_failure',
      'The keyring that this snapshot needs is not in the repository',
      {
        hint: 'Recover from another target, or from an older snapshot.',
        detail: `epoch ${epoch}, needed ${snapshot.keyringEpoch}`,
      },
    );
  }
  const count = await restoreKeyring({
    directory: dataPaths(options.dataDir).keyring,
    rootKeyFile: options.rootKeyFile,
    plaintexts,
    reader,
    lastHeadNumber: String(repository.highestHead),
    lastEpoch: epoch,
  });
  return { count, writeKeys: signingKeysFrom(plaintexts, reader, repository) };
}

/** Recovery signs one object itself, the writer's claim; keyd does not run yet. */
function signingKeysFrom(
  plaintexts: readonly Buffer[],
  reader: Parameters<typeof keyringFromObjects>[1],
  repository: Repository,
): RepositoryWriteKeys {
  const claim = keyringFromObjects(plaintexts, reader).repository?.claim;
  const key = claim?.signingKeys.at(-1);
  if (claim == null || key === undefined) {
    throw new HoldfastError('integrity_failure', 'The keyring holds no signing key for this repository');
  }
  const privateKey = Buffer.from(claim.signingPrivateKey, 'base64');
  return {
    ...repository.keys,
    sign: async (statement) => signStatement({ id: key.id, privateKey }, statement),
    lastHeadNumber: async () => String(repository.highestHead),
  };
}
