/** How entries of the registers read. */
import type { RegisterEntry } from '../../../api/registers.ts';
import type { Tone } from '../../../lib/states.ts';

type Kind = RegisterEntry['kind'];
type State = RegisterEntry['state'];

export const KINDS: readonly { value: Kind; label: string }[] = [
  { value: 'confidentiality', label: 'Confidentiality' },
  { value: 'background-check', label: 'Background check' },
  { value: 'training', label: 'Training' },
];

export const kindLabel = (kind: Kind): string => KINDS.find(({ value }) => value === kind)?.label ?? kind;

export const STATES: Record<State, { label: string; tone: Tone }> = {
  done: { label: 'Done', tone: 'ok' },
  due: { label: 'To be done', tone: 'info' },
  soon: { label: 'Due soon', tone: 'warn' },
  overdue: { label: 'Overdue', tone: 'bad' },
  replaced: { label: 'Done again since', tone: 'neutral' },
  left: { label: 'Has left', tone: 'neutral' },
};
