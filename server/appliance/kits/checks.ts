/** What of the kits needs somebody: said on the overview, and an alert. */
import type { HealthDeps } from '../health.ts';
import type { HealthCheck } from '../schema.ts';
import { DAY_MS } from './fold.ts';
import { readValidKits } from './register.ts';

const YEAR_DAYS = 365;

export async function checkKits(deps: Pick<HealthDeps, 'db' | 'clock'>): Promise<HealthCheck[]> {
  const now = deps.clock.now();
  const today = now.toISOString().slice(0, 10);
  const { kits } = await readValidKits(deps);
  const named = (some: readonly { id: string }[]) =>
    some.map((kit) => kit.id.slice(0, 8)).join(', ') + (some.length === 1 ? ' is' : ' are');
  const unseen = kits.filter((kit) => now.getTime() - kit.openedAt.getTime() > YEAR_DAYS * DAY_MS);
  const due = kits.filter((kit) => kit.reviewOn !== null && kit.reviewOn < today);
  return [
    ...(due.length === 0
      ? []
      : [
          {
            name: 'kit review',
            state: 'warn' as const,
            message: `The review of recovery kit ${named(due)} overdue`,
            hint: 'Look whether it is where the register says, and write down the next day under Keys.',
          },
        ]),
    ...(unseen.length === 0
      ? []
      : [
          {
            name: 'kit drill',
            state: 'warn' as const,
            message: `Recovery kit ${named(unseen)} older than a year and opened nothing since`,
            hint: 'Run a restore test with it, or retire it under Keys.',
          },
        ]),
  ];
}
