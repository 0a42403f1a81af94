import { facts, instant, paragraph, type MailTemplate } from './template.ts';

const WORDS: Record<string, string> = {
  executed: 'It was done.',
  approved: 'It is approved, and may be done now, once. Its page in the console says until when.',
  withdrawn: 'The approval was taken back before anybody used it. Nothing was done.',
  refused: 'Another administrator refused it. Nothing was done.',
  expired: 'Nobody decided in time. Nothing was done.',
  failed: 'It could not be done.',
};

/** What became of something that somebody asked approval for. */
export const approvalEnded: MailTemplate<{
  /** Of the act. */
  title: string;
  state: string;
  /** RFC 3339. */
  at: string;
  /** Why; '' for none. */
  reason: string;
}> = {
  title: 'Approval ended',
  compose: (data, { applianceName }) => ({
    subject: `${data.title}: ${data.state} (${applianceName})`,
    blocks: [
      paragraph(WORDS[data.state] ?? 'It is over.'),
      facts(
        ['Act', data.title],
        ['When', instant(data.at)],
        ...(data.reason === '' ? [] : [['Reason', data.reason] as const]),
      ),
    ],
  }),
};
