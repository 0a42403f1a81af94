import { facts, instant, paragraph, type MailTemplate } from './template.ts';

/** A week before a key runs out, so that the program that uses it does not stop unforeseen. */
export const apiKeyEnding: MailTemplate<{
  name: string;
  /** The part of the key that is no secret. */
  prefix: string;
  /** RFC 3339. */
  expiresAt: string;
}> = {
  title: 'API key runs out',
  compose: (data, { applianceName }) => ({
    subject: `The API key ${data.name} runs out soon (${applianceName})`,
    blocks: [
      paragraph(`Your API key ${data.name} runs out soon. Programs that use it are refused from then on.`),
      facts(['Key', `hf_${data.prefix}_…`], ['Runs out', instant(data.expiresAt)]),
      paragraph(
        'Rotate it on the page API keys: the old secret goes on counting while you put in the new one.',
      ),
    ],
  }),
};
