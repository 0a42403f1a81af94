/** A run that goes from target to target tells on which of how many it is, and how it went on those before. */
import type { Clock } from '../lib/clock.ts';
import type { RunProgress } from '../lib/run-schema.ts';
import type { RunContext, RunOutcome } from '../lib/runs.ts';

type Step = NonNullable<RunProgress['steps']>[number];

export interface TargetSteps {
  /** What the work on that target is given in place of the run. */
  begin(at: number): RunContext;
  end(at: number, outcome: RunOutcome): void;
}

const STATES: Record<RunOutcome['state'], Step['state']> = {
  succeeded: 'passed',
  partial: 'warned',
  failed: 'failed',
};

/** On one target alone there is nothing to add. */
export function followTargets(
  run: RunContext,
  clock: Clock,
  targets: readonly { id: string; name: string }[],
): TargetSteps {
  if (targets.length < 2) return { begin: () => run, end: () => undefined };
  const steps = targets.map(({ id, name }): Step => ({ id, label: name, state: 'waiting' }));
  const change = (at: number, to: Partial<Step>) => Object.assign(steps[at] ?? {}, to);
  let numbers: RunProgress = {};
  let startedMs = 0;
  const report = (progress: RunProgress) => {
    numbers = progress;
    run.report({ ...numbers, steps: steps.map((one) => ({ ...one })) });
  };
  return {
    begin(at) {
      startedMs = clock.monotonicMs();
      change(at, { state: 'running' });
      report({});
      const where = `${targets[at]?.name ?? ''}, ${String(at + 1)} of ${String(targets.length)}`;
      return { ...run, report, step: (name) => run.step(`${where}: ${name}`) };
    },
    end(at, { state, error }) {
      const durationMs = Math.round(clock.monotonicMs() - startedMs);
      change(at, { state: STATES[state], durationMs, ...(error && { note: error.message }) });
      report(numbers);
    },
  };
}
