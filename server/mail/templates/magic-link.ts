import { facts, instant, link, paragraph, type MailTemplate } from './template.ts';

/** Signing in without a password. */
export const magicLink: MailTemplate<{
  /** https; works once, in the browser that asked. */
  url: string;
  /** RFC 3339. */
  until: string;
  address?: string;
  device?: string;
}> = {
  title: 'Link to sign in',
  compose: (data, { applianceName }) => ({
    subject: `Your link to sign in to ${applianceName}`,
    blocks: [
      paragraph('Open it in the browser in which you asked for it, and confirm there.'),
      link('Sign in', data.url),
      facts(
        ['Works once, until', instant(data.until)],
        ...(data.address === undefined ? [] : [['Asked from', data.address] as const]),
        ...(data.device === undefined ? [] : [['With', data.device] as const]),
      ),
      paragraph('If you did not ask for it, do not pass it on. Nobody else can use it in their own browser.'),
    ],
  }),
};
