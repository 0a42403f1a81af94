/** A keyring file from keyring objects of the repository: what `recover` starts a new machine with. */
import { HoldfastError } from '../../lib/errors.ts';
import { makePrivateDirectory } from '../../lib/files.ts';
import { keyringFromObjects, type KeyringReader } from '../keyring-object.ts';
import { openKeyringFile } from './file.ts';
import { givenRootKey, rootKeyFile, rootKeyPath } from './root-key.ts';

interface RestoreOptions {
  /** The new data folder's keyring directory; must hold no keyring. */
  directory: string;
  /** Of the base and its newest addition, as `openKeyringObject` returned them. */
  plaintexts: readonly Buffer[];
  reader: KeyringReader;
  /** File with the root key that an unlock way of the machine put there; absent: a new one is made beside the keyring. */
  rootKeyFile?: string | undefined;
  /** Highest number seen on any target, decimal: no head is signed with it again. */
  lastHeadNumber: string;
  /** Highest epoch seen on any target. */
  lastEpoch: number;
}

/**
 * Writes the keyring under a new root key.
 *
 * @returns how many keys there are.
 * @throws conflict when there is a keyring already; integrity_failure when the objects do not verify.
 */
export async function restoreKeyring(options: RestoreOptions): Promise<number> {
  const keyring = keyringFromObjects(options.plaintexts, options.reader);
  const { repository } = keyring;
  if (!repository?.publication || repository.repositoryId !== options.reader.repositoryId) {
    throw new HoldfastError('integrity_failure', 'The keyring is not of this repository');
  }
  const head = BigInt(options.lastHeadNumber) > BigInt(repository.lastHeadNumber);
  const epoch = Math.max(repository.publication.epoch, options.lastEpoch);
  keyring.repository = {
    ...repository,
    lastHeadNumber: head ? options.lastHeadNumber : repository.lastHeadNumber,
    publication: { ...repository.publication, epoch },
  };
  // The audit log goes on from the state of a snapshot, which may be older than what was signed: as a log of its own.
  delete keyring.repository.auditLog;
  await makePrivateDirectory(options.directory);
  const file = await openKeyringFile({
    directory: options.directory,
    rootKey:
      options.rootKeyFile === undefined
        ? rootKeyFile(rootKeyPath(options.directory))
        : givenRootKey(options.rootKeyFile),
    restore: keyring,
  });
  const count = file.keyring().keys.size;
  await file.close();
  return count;
}
