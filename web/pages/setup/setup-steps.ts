/** The steps of the first run in their order, each with its address. */
import type { SetupState } from '../../api/shapes.ts';

export const SETUP_STEPS = [
  { id: 'code', label: 'Claim code' },
  { id: 'owner', label: 'Owner' },
  { id: 'appliance', label: 'Appliance' },
  { id: 'kit', label: 'Recovery kit' },
  { id: 'target', label: 'Target' },
  { id: 'schedule', label: 'Schedule' },
  { id: 'snapshot', label: 'First snapshot' },
  { id: 'restore-test', label: 'First restore test' },
  { id: 'done', label: 'Summary' },
] as const;

export type SetupStep = (typeof SETUP_STEPS)[number]['id'];

/** Whether a step is behind us, by what the appliance itself says. */
export function isDone(step: SetupStep, setup: SetupState): boolean {
  const { steps } = setup;
  switch (step) {
    case 'code':
    case 'owner':
      return setup.claimed;
    case 'appliance':
    case 'kit':
    case 'target':
    case 'schedule':
    case 'snapshot':
      return steps?.[step] === true;
    case 'restore-test':
      return steps?.restoreTest === true;
    case 'done':
      return false;
  }
}

/** The first step that is still to be done. */
export function firstOpen(setup: SetupState): SetupStep {
  return SETUP_STEPS.find((step) => !isDone(step.id, setup))?.id ?? 'done';
}

/**
 * Whether a step may be opened: those before it that it stands on are done. Before the claim, the owner's step opens only once a
 * code is typed, which no address keeps.
 */
export function mayOpen(step: SetupStep, setup: SetupState, codeTyped: boolean): boolean {
  if (step === 'code') return !setup.claimed;
  if (step === 'owner') return !setup.claimed && codeTyped;
  if (!setup.claimed) return false;
  const needs: Partial<Record<SetupStep, SetupStep[]>> = {
    kit: ['appliance'],
    target: ['appliance', 'kit'],
    schedule: ['appliance', 'kit'],
    snapshot: ['appliance', 'kit', 'target'],
    'restore-test': ['appliance', 'kit', 'target', 'snapshot'],
  };
  return (needs[step] ?? []).every((before) => isDone(before, setup));
}
