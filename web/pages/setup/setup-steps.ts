/**
 * The steps of the first run in their order, each with its address: of a new appliance, and of one that was lost and comes back.
 * `unlock` is there on the machine image only.
 */
import type { SetupState } from '../../api/shapes.ts';

const FIRST_STEPS = [
  { id: 'code', label: 'Claim code' },
  { id: 'purpose', label: 'New or recovered' },
] as const;

const NEW_STEPS = [
  { id: 'owner', label: 'Owner' },
  { id: 'second-factor', label: 'Second factor' },
  { id: 'appliance', label: 'Appliance' },
  { id: 'unlock', label: 'Unlocking' },
  { id: 'kit', label: 'Recovery kit' },
  { id: 'target', label: 'Target' },
  { id: 'schedule', label: 'Schedule' },
  { id: 'snapshot', label: 'First snapshot' },
  { id: 'restore-test', label: 'First restore test' },
  { id: 'done', label: 'Summary' },
] as const;

const RECOVERY_STEPS = [
  { id: 'recover-from', label: 'Where the backups lie' },
  { id: 'recover-kit', label: 'Recovery kit' },
  { id: 'recover-snapshot', label: 'Snapshot' },
  { id: 'recover-unlock', label: 'Unlocking' },
  { id: 'recover', label: 'Recovery' },
] as const;

export type RecoveryStep = (typeof RECOVERY_STEPS)[number]['id'];
type NewStep = (typeof NEW_STEPS)[number]['id'];
export type SetupStep = (typeof FIRST_STEPS)[number]['id'] | NewStep | RecoveryStep;

interface Step {
  id: SetupStep;
  label: string;
}

/** Those of this appliance. @param recovering it is to become one that was lost. */
export function stepsFor(setup: SetupState | undefined, recovering = false): readonly Step[] {
  if (recovering) return [...FIRST_STEPS, ...RECOVERY_STEPS];
  return [...FIRST_STEPS, ...NEW_STEPS].filter(
    (step) => step.id !== 'unlock' || setup?.machine !== undefined,
  );
}

export function isRecoveryStep(step: string): step is RecoveryStep {
  return RECOVERY_STEPS.some(({ id }) => id === step);
}

/** Whether a step is behind us, by what the appliance itself says. */
export function isDone(step: SetupStep, setup: SetupState): boolean {
  const { steps } = setup;
  switch (step) {
    case 'code':
    case 'purpose':
    case 'owner':
      return setup.claimed;
    case 'second-factor':
      return setup.claimed && steps !== undefined;
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
    default:
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
  /** Up to which step of a recovery everything is answered; `recover`: it runs, and there is no way back. */
  recovery: RecoveryStep;
}

/**
 * Whether a step may be opened: those before it that it stands on are done, or what they ask for was typed and waits for the
 * next one.
 */
export function mayOpen(step: SetupStep, setup: SetupState, typed: Typed): boolean {
  if (typed.recovery === 'recover') return step === 'recover';
  if (step === 'code') return !setup.claimed;
  if (step === 'recover') return false;
  if (isRecoveryStep(step)) return !setup.claimed && typed.code && at(step) <= at(typed.recovery);
  if (step === 'owner' || step === 'purpose') return !setup.claimed && typed.code;
  if (!setup.claimed) return false;
  // Where the steps are not told, the second factor is missing, and nothing else opens before it.
  if (step === 'second-factor') return setup.steps === undefined;
  if (setup.steps === undefined) return false;
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

function at(step: RecoveryStep): number {
  return RECOVERY_STEPS.findIndex(({ id }) => id === step);
}
