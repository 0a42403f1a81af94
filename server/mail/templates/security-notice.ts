import { facts, instant, paragraph, type MailTemplate } from './template.ts';

/** Tells a person what changed about their account, so that they notice when it was not them. */
export const securityNotice: MailTemplate<{
  /** For the subject, without a full stop: `Your password was changed`. */
  what: string;
  /** More about it, whole sentences; '' for none. */
  detail?: string;
  /** What to do when something is wrong; left out where the person did it themself. */
  advice?: string;
  /** RFC 3339. */
  at: string;
  /** IP address it was done from. */
  address?: string;
  /** Browser or program it was done with. */
  device?: string;
}> = {
  title: 'Security notice',
  compose: (data, { applianceName }) => ({
    subject: `${data.what} (${applianceName})`,
    blocks: [
      paragraph(`${data.what}.`),
      ...(data.detail === undefined || data.detail === '' ? [] : [paragraph(data.detail)]),
      facts(
        ['When', instant(data.at)],
        ...(data.address === undefined ? [] : [['From', data.address] as const]),
        ...(data.device === undefined ? [] : [['With', data.device] as const]),
      ),
      paragraph(
        data.advice ??
          'If this was not you, sign out all other sessions, change your password and tell an owner of the appliance at once.',
      ),
    ],
  }),
};
