import { facts, instant, paragraph, type MailTemplate } from './template.ts';

/** What the test button sends. */
export const testMessage: MailTemplate<{
  /** RFC 3339. */
  askedAt: string;
}> = {
  title: 'Test message',
  compose: (data, { applianceName }) => ({
    subject: `Test message from ${applianceName}`,
    blocks: [
      paragraph(`Mail from the Holdfast appliance ${applianceName} reaches you.`),
      facts(['Asked for', instant(data.askedAt)]),
      paragraph('There is nothing to do.'),
    ],
  }),
};
