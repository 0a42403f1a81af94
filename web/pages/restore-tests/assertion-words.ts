/** What an assertion expects, in words. */
import type { Expected, NewAssertion } from '../../api/restore-assertions.ts';
import type { RestoreTest } from '../../api/shapes.ts';

export const COMPARISONS = { 'at-least': 'at least', 'at-most': 'at most', equal: 'exactly' } as const;

export const RUNS_IN: Record<NewAssertion['runsIn'], string> = {
  every: 'Every test',
  full: 'Full tests',
  kit: 'Tests with the kit',
};

export function expectedWords(expected: Expected): string {
  if (expected.of === 'true') return 'one value, and it is true';
  const amount = `${COMPARISONS[expected.is]} ${expected.value}`;
  if (expected.of === 'number') return `one number, ${amount}`;
  return `${amount} ${expected.value === 1 ? 'row' : 'rows'}`;
}

/** To begin with. */
export const EXAMPLES: readonly { name: string; sql: string; expected: Expected }[] = [
  {
    name: 'There is an owner who can sign in',
    sql: "select count(*) from users where role = 'owner' and disabled_at is null",
    expected: { of: 'number', is: 'at-least', value: 1 },
  },
  {
    name: 'Files were added in the last seven days',
    sql: "select count(*) > 0 from file_versions where created_at > now() - interval '7 days'",
    expected: { of: 'true' },
  },
  {
    name: 'Every file has a folder',
    sql: `select n.id from nodes n\nleft join nodes f on f.id = n.parent_id\nwhere n.kind = 'file' and f.id is null`,
    expected: { of: 'rows', is: 'equal', value: 0 },
  },
];

/** How the copy of a test came to be chosen. */
export function choiceWords({ choice, drawnFrom, newest }: RestoreTest): string {
  const age = newest === null ? '' : newest ? ', the newest there' : ', not the newest there';
  if (choice === 'latest') return 'The newest';
  if (choice === 'random') return `Drawn among ${drawnFrom ?? 'all'}${age}`;
  return `Chosen by a person${age}`;
}
