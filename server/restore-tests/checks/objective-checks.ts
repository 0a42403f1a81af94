/**
 * What was reached against what is aimed at. A missed objective is a warning, not a failure: the copy is whole all the same, and a test that failed
 * for the sake of a clock would say of a good backup that it cannot be restored.
 */
import { measure } from '../measure.ts';
import { need, type Check, type Scene } from '../scene.ts';

export interface Objectives {
  rtoMs: number | null;
  rpoMs: number | null;
}

export function objectiveChecks({ rtoMs, rpoMs }: Objectives): Check[] {
  return [
    ...(rtoMs === null ? [] : [recoveryTimeCheck(rtoMs)]),
    ...(rpoMs === null ? [] : [lossCheck(rpoMs)]),
  ];
}

function recoveryTimeCheck(objectiveMs: number): Check {
  return {
    id: 'objective-rto',
    label: 'Restored within the objective (RTO)',
    run: async (scene) => {
      const { rtoMs, rtoBasis } = measure(scene);
      const reached = need(rtoMs ?? undefined, 'the time of a restore');
      const how = rtoBasis === 'measured' ? 'measured' : 'reckoned from the sample';
      return judge(reached, objectiveMs, `${describeDuration(reached)}, ${how}`);
    },
  };
}

function lossCheck(objectiveMs: number): Check {
  return {
    id: 'objective-rpo',
    label: 'No more would be lost than the objective allows (RPO)',
    run: async (scene: Scene) => {
      const reached = need(measure(scene).rpoMs ?? undefined, 'the snapshot');
      if (scene.copy.newest) return judge(reached, objectiveMs, describeDuration(reached));
      const found = `not judged: an older copy, of ${describeDuration(reached)} before the test, was chosen`;
      return { passed: true, expected: `at most ${describeDuration(objectiveMs)}`, found };
    },
  };
}

function judge(reachedMs: number, objectiveMs: number, found: string) {
  const passed = reachedMs <= objectiveMs;
  return { passed: true, warned: !passed, expected: `at most ${describeDuration(objectiveMs)}`, found };
}

function describeDuration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
}
