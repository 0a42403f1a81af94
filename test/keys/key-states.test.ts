import { describe, expect, it } from 'vitest';
import { type KeyCall, keyCan, type KeyState, stricterState } from '../../server/keys/index.ts';

const STATES: KeyState[] = ['enabled', 'expired', 'disabled', 'pending_deletion'];

/** Row by row as the design has it: y yes, otherwise the refusal. */
const DESIGN: [KeyCall, string, string, string, string][] = [
  ['encrypt', 'y', 'key_expired', 'key_disabled', 'key_pending_deletion'],
  ['decrypt', 'y', 'y', 'key_disabled', 'key_pending_deletion'],
  ['enable', 'y', 'y', 'y', 'key_pending_deletion'],
  ['disable', 'y', 'y', 'y', 'key_pending_deletion'],
  ['rotate', 'y', 'y', 'key_disabled', 'key_pending_deletion'],
  ['schedule_deletion', 'y', 'y', 'y', 'key_pending_deletion'],
  ['cancel_deletion', 'wrong_state', 'wrong_state', 'wrong_state', 'y'],
];

describe('the states of a key', () => {
  it.each(DESIGN)('%s is allowed in exactly the states of the design', (call, ...answers) => {
    expect(STATES.map((state) => keyCan(call, state) ?? 'y')).toEqual(answers);
  });

  it('of two states the stricter counts', () => {
    expect(stricterState('enabled', 'disabled')).toBe('disabled');
    expect(stricterState('pending_deletion', 'disabled')).toBe('pending_deletion');
    expect(stricterState('expired', 'enabled')).toBe('expired');
  });
});
