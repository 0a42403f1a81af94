import { facts, paragraph, type MailTemplate } from './template.ts';

const KINDS: Record<string, string> = {
  confidentiality: 'Confidentiality undertaking',
  'background-check': 'Background check',
  training: 'Training',
};

/** To a person: what of theirs is due soon, or is late. */
export const registerDue: MailTemplate<{
  entries: readonly {
    kind: string;
    what: string;
    /** A day. */
    dueOn: string;
    overdue: boolean;
  }[];
  /** How many there are beyond these. */
  more: number;
}> = {
  title: 'Due in the registers',
  compose: (data, { applianceName }) => ({
    subject: `${data.entries.some((entry) => entry.overdue) ? 'Overdue' : 'Due soon'}: ${data.entries[0]?.what ?? ''} (${applianceName})`,
    blocks: [
      paragraph('The following of yours is due, or has to be renewed.'),
      facts(
        ...data.entries.map(
          (entry) =>
            [
              `${KINDS[entry.kind] ?? entry.kind}: ${entry.what}`,
              entry.overdue ? `was due on ${entry.dueOn}` : `due on ${entry.dueOn}`,
            ] as const,
        ),
      ),
      ...(data.more > 0 ? [paragraph(`And ${data.more} more.`)] : []),
      paragraph('Tell an owner of the appliance when it is done, so that they enter it.'),
    ],
  }),
};
