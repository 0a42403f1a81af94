/** The keyring as the operations see it: changes are told to those who wait, and the repository changes one at a time. */
import { HoldfastError } from '../../lib/errors.ts';
import type { KeyringFile } from '../keyring/file.ts';
import type { Keyring, KeyringRecord } from '../keyring/model.ts';

export type KeyringSource = Pick<KeyringFile, 'keyring' | 'append' | 'settled' | 'notices'>;

export interface KeyringStore {
  keyring(): Keyring;
  readonly notices: readonly string[];
  /** Applies changes at once and tells the waiting. @returns when durable. */
  change(records: readonly KeyringRecord[]): Promise<void>;
  /** Resolves when all that counts now is durable. */
  settled(): Promise<void>;
  /** Runs one at a time. */
  exclusive<T>(act: () => Promise<T>): Promise<T>;
  /** @returns the revision when it is not `revision` any more, or after `waitMs`. */
  waitForChange(revision: number, waitMs: number): Promise<number>;
  /** Lets every waiter go. */
  releaseWaiters(): void;
}

/** Wraps a keyring file, or a keyring in memory. */
export function createKeyringStore(source: KeyringSource): KeyringStore {
  const waiters = new Set<() => void>();
  let turn: Promise<unknown> = Promise.resolve();
  const notify = () => {
    for (const wake of waiters) wake();
    waiters.clear();
  };
  return {
    keyring: source.keyring,
    notices: source.notices,
    settled: source.settled,
    releaseWaiters: notify,
    async change(records) {
      const durable = source.append(records);
      notify();
      try {
        await durable;
      } catch (error) {
        notify();
        throw error;
      }
    },
    exclusive(act) {
      const result = turn.then(act, act);
      turn = result.catch(() => undefined);
      return result;
    },
    waitForChange(revision, waitMs) {
      if (source.keyring().revision !== revision) return Promise.resolve(source.keyring().revision);
      return new Promise((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          waiters.delete(wake);
          resolve(source.keyring().revision);
        };
        const timer = setTimeout(wake, waitMs);
        waiters.add(wake);
      });
    },
  };
}

/** A keyring that is only read, in memory: that of a kit test. */
export function memoryKeyring(keyring: Keyring): KeyringSource {
  return {
    keyring: () => keyring,
    notices: [],
    settled: async () => undefined,
    append: async () => {
      throw new HoldfastError('wrong_state', 'A restored keyring under test is not changed');
    },
  };
}
