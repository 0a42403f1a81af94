/** How what a recovery kit opens reads. */
import type { RegisteredKit } from '../../api/appliance.ts';

export function opensWords({ opens, state, generations }: RegisteredKit): string {
  const given = `generation ${generations.join(', ')}`;
  if (opens === 'nothing') return 'Nothing';
  if (state === 'retired') return `Still ${given}`;
  return opens === 'everything' ? 'Everything' : `Only ${given}`;
}
