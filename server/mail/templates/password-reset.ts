import { facts, instant, link, paragraph, type MailTemplate } from './template.ts';

/** A new password for somebody who forgot theirs. It tells of the reset before it happens. */
export const passwordReset: MailTemplate<{
  /** https; works once. */
  url: string;
  /** RFC 3339. */
  until: string;
  /** IP address it was asked for from; left out when an owner made it. */
  address?: string;
  device?: string;
}> = {
  title: 'Password reset',
  compose: (data, { applianceName }) => ({
    subject: `Set a new password for ${applianceName}`,
    blocks: [
      paragraph(
        data.address === undefined
          ? `An owner of the Holdfast appliance ${applianceName} made this link for you to set a new password.`
          : `Somebody asked for a new password for your account at the Holdfast appliance ${applianceName}.`,
      ),
      link('Set a new password', data.url),
      facts(
        ['Works once, until', instant(data.until)],
        ...(data.address === undefined ? [] : [['Asked from', data.address] as const]),
        ...(data.device === undefined ? [] : [['With', data.device] as const]),
      ),
      paragraph(
        'Every session of yours ends with it. Your second factor stays, and is asked for when you sign in. If this was not you, there is nothing to do: without the link nothing changes.',
      ),
    ],
  }),
};
