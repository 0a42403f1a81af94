/** How items of a review read. */
import type { ReviewItem } from '../../../api/access-reviews.ts';
import { roleLabel, workspaceRoleLabel } from '../people/role-words.ts';

export const KINDS: readonly { value: ReviewItem['kind']; label: string }[] = [
  { value: 'account', label: 'Accounts' },
  { value: 'team', label: 'Teams' },
  { value: 'workspace', label: 'Workspaces' },
  { value: 'api-key', label: 'API keys' },
];

/** Who has it. */
export function holderOf({ person, team }: ReviewItem): string {
  return person?.name ?? (team === null ? '' : `Team ${team.name}`);
}

/** What they have. */
export function whatOf({ kind, facts, team, workspace }: ReviewItem): string {
  switch (kind) {
    case 'account':
      return `${roleLabel(facts.role ?? 'member')}${facts.state === 'deactivated' ? ', deactivated' : ''}`;
    case 'team':
      return `In team ${team?.name ?? ''}`;
    case 'workspace':
      return `${workspaceRoleLabel(facts.level ?? 'viewer')} of ${workspace?.name ?? ''}`;
    case 'api-key':
      return `API key ${facts.name ?? ''}`;
  }
}

/** More about it. */
export function detailOf({ kind, facts, workspace }: ReviewItem): string {
  if (kind === 'account')
    return (facts.factors ?? []).length === 0 ? 'No second factor' : (facts.factors ?? []).join(', ');
  if (kind === 'api-key')
    return [facts.prefix, workspace?.name ?? 'Operations', (facts.rights ?? []).join(' ')].join(', ');
  return '';
}

/** What an empty time of use means: sessions are known for 90 days, keys as long as there are any. */
export const unusedWords = ({ kind }: ReviewItem): string =>
  kind === 'api-key' ? 'never used' : 'not in 90 days';

/** When it was used last, where that is known. */
export function usedAt({ facts }: ReviewItem): string | null {
  return facts.lastSeenAt ?? facts.lastUsedAt ?? null;
}

const DECISIONS = { keep: 'Kept', change: 'Changed', remove: 'Removed' };

export function stateOf(item: ReviewItem): string {
  return item.decision === null ? 'Undecided' : DECISIONS[item.decision.decision];
}
