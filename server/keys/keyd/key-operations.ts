/** Operations on keys: make, find, derive, enable, disable. */
import { randomBytes, randomUUID } from 'node:crypto';
import type { Clock } from '../../lib/clock.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { KeyFacts } from '../key-client.ts';
import { type KeyCall, keyCan } from '../key-states.ts';
import { effectiveState, findOwnedKey, type KeyRecord } from '../keyring/model.ts';
import { deriveKey, KEY_PURPOSES } from '../sealing.ts';
import {
  type Arguments,
  choiceArgument,
  listArgument,
  numberArgument,
  objectArgument,
  uuidArgument,
} from './arguments.ts';
import type { KeyringStore } from './store.ts';

/** Keys derived in one call. */
const MAX_DERIVED_KEYS = 500;
const MAX_WAIT_MS = 30_000;

const REFUSALS = {
  key_expired: 'This key has expired: it opens what is there and seals nothing new',
  key_disabled: 'This key is disabled',
  key_pending_deletion: 'This key is about to be deleted',
  wrong_state: 'This key is not about to be deleted',
} as const;

interface KeyContext {
  store: KeyringStore;
  clock: Clock;
}

/** The operations, by name. */
export function keyOperations({ store, clock }: KeyContext) {
  const facts = (key: KeyRecord): KeyFacts => ({
    id: key.id,
    kind: key.kind,
    workspaceId: key.workspaceId,
    state: effectiveState(store.keyring(), key, clock.now()),
    version: key.versions.at(-1)?.version ?? 0,
    createdAt: key.createdAt,
  });

  function getKey(id: string): KeyRecord {
    const key = store.keyring().keys.get(id);
    if (!key) throw new HoldfastError('not_found', 'There is no such key', { detail: id });
    return key;
  }

  function requireCall(call: KeyCall, key: KeyRecord): void {
    const refusal = keyCan(call, effectiveState(store.keyring(), key, clock.now()));
    if (refusal) throw new HoldfastError(refusal, REFUSALS[refusal], { detail: key.id });
  }

  function newKey(owner: Pick<KeyRecord, 'kind' | 'workspaceId' | 'subject'>, id: string): KeyRecord {
    const createdAt = clock.now().toISOString();
    const versions = [{ version: 1, material: randomBytes(32), createdAt }];
    return { id, ...owner, state: 'enabled', createdAt, expiresAt: null, versions };
  }

  /** The one key of an owner, made when it is not there; durable either way. */
  async function ownedKey(owner: Pick<KeyRecord, 'kind' | 'workspaceId' | 'subject'>): Promise<KeyFacts> {
    const existing = findOwnedKey(store.keyring(), owner);
    if (existing) {
      await store.settled();
      return facts(getKey(existing.id));
    }
    const key = newKey(owner, randomUUID());
    await store.change([{ kind: 'key', key }]);
    return facts(key);
  }

  async function setState(keyId: string, state: 'enabled' | 'disabled'): Promise<KeyFacts> {
    const key = getKey(keyId);
    requireCall(state === 'enabled' ? 'enable' : 'disable', key);
    if (key.state !== state) await store.change([{ kind: 'key', key: { ...key, state } }]);
    else await store.settled();
    return facts(getKey(keyId));
  }

  function derive(request: Arguments): unknown {
    const purpose = choiceArgument(request, 'purpose', KEY_PURPOSES);
    const key = getKey(uuidArgument(request, 'keyId'));
    requireCall('decrypt', key);
    return {
      versions: key.versions.map((version) => {
        const derived = deriveKey(version.material, purpose);
        const text = derived.toString('base64');
        derived.fill(0);
        return { version: version.version, key: text };
      }),
      sealRefusal: keyCan('encrypt', effectiveState(store.keyring(), key, clock.now())) ?? null,
    };
  }

  return {
    applianceKey: () => ownedKey({ kind: 'appliance', workspaceId: null, subject: null }),

    createWorkspaceKey: (args: Arguments) =>
      ownedKey({ kind: 'workspace', workspaceId: uuidArgument(args, 'workspaceId'), subject: null }),

    async workspaceKey(args: Arguments) {
      await store.settled();
      const workspaceId = uuidArgument(args, 'workspaceId');
      const key = findOwnedKey(store.keyring(), { kind: 'workspace', workspaceId, subject: null });
      if (!key) throw new HoldfastError('not_found', 'This workspace has no key', { detail: workspaceId });
      return facts(key);
    },

    async createSubjectKey(args: Arguments) {
      const workspaceId = args.workspaceId === null ? null : uuidArgument(args, 'workspaceId');
      if (workspaceId !== null) {
        const parent = findOwnedKey(store.keyring(), { kind: 'workspace', workspaceId, subject: null });
        if (!parent)
          throw new HoldfastError('not_found', 'This workspace has no key', { detail: workspaceId });
        requireCall('encrypt', parent);
      }
      const id = randomUUID();
      const key = newKey({ kind: 'subject', workspaceId, subject: id }, id);
      await store.change([{ kind: 'key', key }]);
      return facts(key);
    },

    monthlyKey(args: Arguments) {
      const workspaceId = uuidArgument(args, 'workspaceId');
      const parent = findOwnedKey(store.keyring(), { kind: 'workspace', workspaceId, subject: null });
      if (!parent) throw new HoldfastError('not_found', 'This workspace has no key', { detail: workspaceId });
      requireCall('encrypt', parent);
      const subject = `none/${clock.now().toISOString().slice(0, 7)}`;
      return ownedKey({ kind: 'subject', workspaceId, subject });
    },

    async describeKey(args: Arguments) {
      await store.settled();
      return facts(getKey(uuidArgument(args, 'keyId')));
    },

    /** Each answer stands alone: `{ derived }` or `{ error }`. */
    async deriveKeys(args: Arguments) {
      // No key leaves before it is durable: what is sealed with it could not be opened after a power cut.
      await store.settled();
      const requests = listArgument(args, 'requests', MAX_DERIVED_KEYS);
      return requests.map((request) => {
        try {
          return { derived: derive(objectArgument({ request }, 'request')) };
        } catch (error) {
          if (!(error instanceof HoldfastError)) throw error;
          return { error: { code: error.code, message: error.message } };
        }
      });
    },

    watch: (args: Arguments) =>
      store.waitForChange(
        numberArgument(args, 'revision', { from: 0, to: Number.MAX_SAFE_INTEGER }),
        numberArgument(args, 'waitMs', { from: 0, to: MAX_WAIT_MS }),
      ),

    enableKey: (args: Arguments) => setState(uuidArgument(args, 'keyId'), 'enabled'),
    disableKey: (args: Arguments) => setState(uuidArgument(args, 'keyId'), 'disabled'),
  };
}
