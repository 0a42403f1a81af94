/** How the states of a request read. */
import { isAsked, type Approval } from '../../../api/approvals.ts';
import { toasts } from '../../../lib/toasts.svelte.ts';
import { paths } from '../../../routes.ts';

const STATE_WORDS: Record<Approval['state'], string> = {
  open: 'Waits for a decision',
  waiting: 'Runs by itself',
  executed: 'Done',
  refused: 'Refused',
  withdrawn: 'Withdrawn',
  expired: 'Expired',
  failed: 'Failed',
};

/** What became of a request. A permit is not what it permits. */
export function stateWords({ state, permit }: Pick<Approval, 'state' | 'permit'>): string {
  if (permit && state === 'executed') return 'Approved';
  return permit && state === 'waiting' ? 'Permitted by itself' : STATE_WORDS[state];
}

/** Says that an act was asked for instead of done. @returns whether it was. */
export function tellAsked(answer: object): boolean {
  if (!isAsked(answer)) return false;
  const { runsAt } = answer.approval;
  toasts.add({
    tone: 'info',
    message:
      runsAt === null
        ? 'Nothing has changed yet: another administrator is asked to approve it'
        : 'Nothing has changed yet: it runs by itself when the waiting period is over',
    href: paths.approvals(),
    linkText: 'Open approvals',
  });
  return true;
}
