import { facts, instant, paragraph, type Block, type MailTemplate } from './template.ts';

/** One thing that is not well, or was. */
export interface AlertLine {
  event: 'raised' | 'worsened' | 'reminded' | 'ended';
  state: 'warn' | 'bad';
  name: string;
  message: string;
  hint?: string;
  /** RFC 3339. */
  since: string;
}

/** To administrators: what is not well, what is well again. All of one look in one message. */
export const alert: MailTemplate<{ lines: AlertLine[]; more: number }> = {
  title: 'Alert',
  compose: ({ lines, more }, { applianceName }) => ({
    subject: subjectOf(lines, more, applianceName),
    blocks: [
      ...lines.flatMap(describe),
      ...(more > 0 ? [paragraph(`And ${more} more.`)] : []),
      paragraph(
        'Open Alerts in the console to see all of it, or to say that you take care of it; then no reminder is sent for a while.',
      ),
    ],
  }),
};

function subjectOf(lines: readonly AlertLine[], more: number, applianceName: string): string {
  const open = lines.filter(({ event }) => event !== 'ended');
  const [first] = open.length > 0 ? open : lines;
  const others = (open.length > 0 ? open.length : lines.length) - 1 + more;
  const rest = others > 0 ? `, and ${others} more` : '';
  const word = WORDS[first?.event ?? 'ended'];
  return `${word}: ${first?.name ?? ''}${rest} (${applianceName})`;
}

const WORDS: Record<AlertLine['event'], string> = {
  raised: 'Needs you',
  worsened: 'Got worse',
  reminded: 'Still needs you',
  ended: 'Well again',
};

function describe({ event, name, message, hint, since }: AlertLine): Block[] {
  return [
    facts(['What', name], [WORDS[event], message], ['Since', instant(since)]),
    ...(hint === undefined || event === 'ended' ? [] : [paragraph(hint)]),
  ];
}
