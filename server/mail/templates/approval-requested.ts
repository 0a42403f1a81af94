import { facts, instant, paragraph, type MailTemplate } from './template.ts';

/** Somebody asked for an act that needs a second person, or that runs by itself when nobody objects. */
export const approvalRequested: MailTemplate<{
  /** Of the act. */
  title: string;
  reason: string;
  consequence: string;
  /** RFC 3339: until when another administrator may decide. */
  until?: string;
  /** RFC 3339: when it runs by itself. */
  runsAt?: string;
  /** Then it may be done by somebody, and does not run by itself. */
  permit?: boolean;
}> = {
  title: 'Approval requested',
  compose: (data, { applianceName }) => ({
    subject: `${data.runsAt === undefined ? 'Your approval is asked for' : data.permit === true ? 'A dangerous act will be permitted' : 'A dangerous act will run'}: ${data.title} (${applianceName})`,
    blocks: [
      paragraph(
        data.runsAt === undefined
          ? 'An administrator asks for an act that needs a second one. Open Approvals in the console to approve or refuse it.'
          : `There is no other administrator who could approve this act, so it ${data.permit === true ? 'is permitted' : 'runs by itself'} after a waiting period. Open Approvals in the console to withdraw it.`,
      ),
      facts(
        ['Act', data.title],
        ['Reason', data.reason],
        ['Consequence', data.consequence],
        data.runsAt === undefined
          ? ['Until', instant(data.until ?? '')]
          : [data.permit === true ? 'Permitted at' : 'Runs at', instant(data.runsAt)],
      ),
    ],
  }),
};
