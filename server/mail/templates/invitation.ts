import { facts, instant, link, paragraph, type MailTemplate } from './template.ts';

/** Asks somebody to become a person of this appliance. */
export const invitation: MailTemplate<{
  /** https; works once. */
  url: string;
  /** In words: `Member`. */
  role: string;
  /** RFC 3339. */
  until: string;
}> = {
  title: 'Invitation',
  compose: (data, { applianceName }) => ({
    subject: `You are invited to ${applianceName}`,
    blocks: [
      paragraph(`You are invited to the Holdfast appliance ${applianceName}.`),
      link('Accept the invitation', data.url),
      facts(['Role', data.role], ['Works once, until', instant(data.until)]),
      paragraph(
        'If you do not know what this is about, there is nothing to do: without you nothing happens.',
      ),
    ],
  }),
};
