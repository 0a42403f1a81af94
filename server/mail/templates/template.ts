/**
 * The form of a template: it composes a subject and blocks of words from its data; text and HTML are both made from these
 * (`../render.ts`), so they never say different things.
 */

/** One part of a message. Plain words everywhere: whatever must be escaped is escaped when it is rendered. */
export type Block =
  | { kind: 'paragraph'; words: string }
  /** A link that asks to be followed; https only. In the text its address stands on a line of its own. */
  | { kind: 'link'; label: string; url: string }
  /** Something to type elsewhere. */
  | { kind: 'facts'; facts: readonly (readonly [name: string, value: string])[] };

export interface ComposedMail {
  /** At most 200 characters are kept; control characters become spaces. */
  subject: string;
  blocks: readonly Block[];
}

/** What every template may know beside its data. */
export interface MailSetting {
  /** Of this appliance. */
  applianceName: string;
}

export interface MailTemplate<Data> {
  /** Shown in the log of mail. */
  title: string;
  compose(data: Data, setting: MailSetting): ComposedMail;
}

export const paragraph = (words: string): Block => ({ kind: 'paragraph', words });
export const link = (label: string, url: string): Block => ({ kind: 'link', label, url });
export const facts = (...list: (readonly [string, string])[]): Block => ({ kind: 'facts', facts: list });

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `23 Nov 2026, 03:32 UTC`: a mail does not know where it is read. What is no instant stays as it is. @param at RFC 3339. */
export function instant(at: string): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return at;
  const day = `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()] ?? ''} ${date.getUTCFullYear()}`;
  return `${day}, ${date.toISOString().slice(11, 16)} UTC`;
}
