/** What may be done with a key in which state: the one table, used by keyd for every call. */
import type { ErrorCode } from '../lib/errors.ts';

/** `expired` is an enabled key whose date has passed. */
export type KeyState = 'enabled' | 'expired' | 'disabled' | 'pending_deletion';

export type KeyCall =
  'encrypt' | 'decrypt' | 'enable' | 'disable' | 'rotate' | 'schedule_deletion' | 'cancel_deletion';

/** A refusal by state. */
export type KeyRefusal = Extract<
  ErrorCode,
  'key_expired' | 'key_disabled' | 'key_pending_deletion' | 'wrong_state'
>;

const TABLE: Record<KeyCall, Record<KeyState, KeyRefusal | 'yes'>> = {
  encrypt: {
    enabled: 'yes',
    expired: 'key_expired',
    disabled: 'key_disabled',
    pending_deletion: 'key_pending_deletion',
  },
  decrypt: {
    enabled: 'yes',
    expired: 'yes',
    disabled: 'key_disabled',
    pending_deletion: 'key_pending_deletion',
  },
  enable: { enabled: 'yes', expired: 'yes', disabled: 'yes', pending_deletion: 'key_pending_deletion' },
  disable: { enabled: 'yes', expired: 'yes', disabled: 'yes', pending_deletion: 'key_pending_deletion' },
  rotate: {
    enabled: 'yes',
    expired: 'yes',
    disabled: 'key_disabled',
    pending_deletion: 'key_pending_deletion',
  },
  schedule_deletion: {
    enabled: 'yes',
    expired: 'yes',
    disabled: 'yes',
    pending_deletion: 'key_pending_deletion',
  },
  cancel_deletion: {
    enabled: 'wrong_state',
    expired: 'wrong_state',
    disabled: 'wrong_state',
    pending_deletion: 'yes',
  },
};

/** @returns undefined when the call is allowed, else the code of the refusal. */
export function keyCan(call: KeyCall, state: KeyState): KeyRefusal | undefined {
  const answer = TABLE[call][state];
  return answer === 'yes' ? undefined : answer;
}

const STRICTNESS: readonly KeyState[] = ['enabled', 'expired', 'disabled', 'pending_deletion'];

/** The state that counts for a key below another: the stricter of the two. */
export function stricterState(left: KeyState, right: KeyState): KeyState {
  return STRICTNESS.indexOf(left) > STRICTNESS.indexOf(right) ? left : right;
}
