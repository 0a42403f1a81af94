/** Write-only use: the end of the test identities, by which the appliance opens its own backups. */
import type { Clock } from '../../lib/clock.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { RepositoryStatus } from '../key-client.ts';
import { openKeysObject } from '../keys-object.ts';
import { type GenerationRecord, generationsOf, TEST_IDENTITIES, trustRootOf } from '../keyring/model.ts';
import { repositoryStatus } from './kit-operations.ts';
import type { Grants } from './lent-secrets.ts';
import type { KeyringStore } from './store.ts';
import { storedKeysObject } from './stored-keys-object.ts';

interface IdentityContext {
  store: KeyringStore;
  clock: Clock;
  /** Connections that were given test identities. */
  holders: ReadonlySet<Grants>;
}

/** The operations, by name. */
export function identityOperations({ store, clock, holders }: IdentityContext) {
  async function destroyTestIdentities(): Promise<RepositoryStatus> {
    const { repository } = store.keyring();
    if (!repository?.claim) {
      throw new HoldfastError('wrong_state', 'This appliance has no backup repository yet');
    }
    const { claim } = repository;
    const root = trustRootOf(repository);
    const trust = { repositoryId: repository.repositoryId, trustRoot: root.publicKey };
    const without = async <T extends GenerationRecord>(one: T): Promise<T> => {
      if (one.testIdentity === null) return one;
      const stored = Buffer.from(one.keysObject.bytes, 'base64');
      const statement = await openKeysObject(stored, [one.testIdentity], trust);
      delete statement.testRecipient;
      const keysObject = await storedKeysObject(statement, root);
      return { ...one, testIdentity: null, testRecipient: null, keysObject };
    };
    if (generationsOf(claim).every((one) => one.testIdentity === null)) return repositoryStatus(repository);
    const earlier = await Promise.all((claim.earlier ?? []).map(without));
    const next = { ...(await without(claim)), ...(earlier.length === 0 ? {} : { earlier }) };
    // Here, without an await after it: whoever asks from now on is given none.
    if (holders.size > 0) {
      throw new HoldfastError('conflict', 'A run that is under way holds the key that opens the backups', {
        hint: 'Wait for it to end, or cancel it, then try again.',
      });
    }
    const now = store.keyring().repository ?? repository;
    const changed = { ...now, claim: next, identitiesDestroyedAt: clock.now().toISOString() };
    // One record with the drop: the file is written anew without what it held, and the next base of the keyring is due.
    await store.change([
      { kind: 'repository', repository: changed },
      { kind: 'drop', id: TEST_IDENTITIES },
    ]);
    return repositoryStatus(store.keyring().repository);
  }

  return { destroyTestIdentities: () => store.exclusive(destroyTestIdentities) };
}
