import { facts, instant, link, paragraph, type MailTemplate } from './template.ts';

/** To a new address: is it really theirs? */
export const emailConfirmation: MailTemplate<{
  /** https; works once. */
  url: string;
  /** RFC 3339. */
  until: string;
  /** Of the person who asked. */
  name: string;
}> = {
  title: 'Confirm an address',
  compose: (data, { applianceName }) => ({
    subject: `Confirm your e-mail address for ${applianceName}`,
    blocks: [
      paragraph(
        `${data.name} asked to use this address at the Holdfast appliance ${applianceName}, also to sign in.`,
      ),
      link('Use this address', data.url),
      facts(['Works once, until', instant(data.until)]),
      paragraph(
        'If you do not know what this is about, there is nothing to do: without you nothing happens.',
      ),
    ],
  }),
};
