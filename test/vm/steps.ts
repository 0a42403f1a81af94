/** The walk through an appliance's life, in order: each step finds the machine as the one before left it. */
import { FIRST_STEPS } from './first-steps.ts';
import { RECOVERY_STEPS, SNAPSHOT_STEPS } from './recovery-steps.ts';
import { SSH_STEPS } from './ssh-steps.ts';
import { TPM_STEPS, UNLOCK_STEPS } from './unlock-steps.ts';
import { UPDATE_STEPS } from './update-steps.ts';
import type { Step } from './walk.ts';

export const STEPS: readonly Step[] = [
  ...FIRST_STEPS,
  ...UNLOCK_STEPS,
  ...SNAPSHOT_STEPS,
  ...TPM_STEPS,
  ...SSH_STEPS,
  ...UPDATE_STEPS,
  ...RECOVERY_STEPS,
];
