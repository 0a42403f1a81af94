/** The steps of the first run in their order, each with its address. `unlock` is there on the machine image only. */
import type { SetupState } from '../../api/shapes.ts';

const ALL_STEPS = [
  { id: 'code', label: 'Claim code' },
  { id: 'owner', label: 'Owner' },
  { id: 'appliance', label: 'Appliance' },
  { id: 'unlock', label: 'Unlocking' },
  { id: 'kit', label: 'Recovery kit' },
  { id: 'target', label: 'Target' },
  { id: 'schedule', label: 'Schedule' },
  { id: 'snapshot', label: 'First snapshot' },
  { id: 'restore-test', label: 'First restore test' },
  { id: 'done', label: 'Summary' },
] as const;

export type SetupStep = (typeof ALL_STEPS)[number]['id'];

/** Those of this appliance. */
export function stepsFor(setup: SetupState | undefined): readonly { id: SetupStep; label: string }[] {
  return ALL_STEPS.filter((step) => step.id !== 'unlock' || setup?.machine !== undefined);
}

/** Whether a step is behind us, by what the appliance itself says. */
export function isDone(step: SetupStep, setup: SetupState): boolean {
  const { steps } = setup;
  switch (step) {
    case 'code':
    case 'owner':
      return setup.claimed;
    case 'unlock':
      return setup.machine?.volumeUnclaimed !== true && setup.claimed;
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
  return stepsFor(setup).find((step) => !isDone(step.id, setup))?.id ?? 'done';
}

/** What was typed in this page and no address keeps. */
interface Typed {
  code: boolean;
  /** The way for every day that opens the data volume. */
  daily: boolean;
}

/**
 * Whether a step may be opened: those before it that it stands on are done, or what they ask for was typed and waits for the
 * next one.
 */
export function mayOpen(step: SetupStep, setup: SetupState, typed: Typed): boolean {
  if (step === 'code') return !setup.claimed;
  if (step === 'owner') return !setup.claimed && typed.code;
  if (!setup.claimed) return false;
  if (step === 'unlock' && setup.machine === undefined) return false;
  const needs: Partial<Record<SetupStep, SetupStep[]>> = {
    unlock: ['appliance'],
    kit: typed.daily ? ['appliance'] : ['appliance', 'unlock'],
    target: ['appliance', 'kit'],
    schedule: ['appliance', 'kit'],
    snapshot: ['appliance', 'kit', 'target'],
    'restore-test': ['appliance', 'kit', 'target', 'snapshot'],
  };
  return (needs[step] ?? []).every((before) => isDone(before, setup));
}
