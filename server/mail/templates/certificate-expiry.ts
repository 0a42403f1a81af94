import { facts, instant, paragraph, type MailTemplate } from './template.ts';

/** Tells owners that browsers will soon turn people away. */
export const certificateExpiry: MailTemplate<{
  /** The first name that it counts for. */
  name: string;
  /** RFC 3339. */
  validTo: string;
  /** One sentence, without a full stop. */
  message: string;
  /** What to do, a sentence. */
  hint: string;
}> = {
  title: 'Certificate runs out',
  compose: (data, { applianceName }) => ({
    subject: `The certificate of ${applianceName} runs out`,
    blocks: [
      paragraph(`${data.message}.`),
      paragraph(data.hint),
      facts(['For', data.name], ['Good until', instant(data.validTo)]),
    ],
  }),
};
