/** What stands in the form of the mail server, and what is wrong with it. */
import type { MailSettingsChange, MailSettingsReply } from '../../../api/mail.ts';

export interface MailForm {
  host: string;
  port: string;
  security: 'implicit' | 'starttls';
  leastTls: '1.3' | '1.2';
  caCertificates: string;
  username: string;
  /** '' leaves the one that is kept. */
  password: string;
  senderName: string;
  senderAddress: string;
  messagesAMinute: string;
  paused: boolean;
}

type Kept = MailSettingsReply['settings'];

export function toForm(kept: Kept, name: string): MailForm {
  return {
    host: kept?.host ?? '',
    port: String(kept?.port ?? 465),
    security: kept?.security ?? 'implicit',
    leastTls: kept?.leastTls ?? '1.3',
    caCertificates: kept?.caCertificates ?? '',
    username: kept?.username ?? '',
    password: '',
    senderName: kept?.senderName ?? name,
    senderAddress: kept?.senderAddress ?? '',
    messagesAMinute: String(kept?.messagesAMinute ?? 60),
    paused: kept?.paused ?? false,
  };
}

/** Whether mail would go another way than before, so that the kept password must be typed again. */
export function goesElsewhere(form: MailForm, kept: Kept): boolean {
  if (kept?.passwordSet !== true) return false;
  return (
    form.host.trim() !== kept.host ||
    Number(form.port) !== kept.port ||
    form.security !== kept.security ||
    form.username.trim() !== (kept.username ?? '') ||
    form.caCertificates.trim() !== (kept.caCertificates ?? '').trim() ||
    (form.leastTls === '1.2' && kept.leastTls === '1.3')
  );
}

/** Why it cannot be saved; undefined when it can. */
export function faultOf(form: MailForm, kept: Kept): string | undefined {
  const port = Number(form.port);
  const rate = Number(form.messagesAMinute);
  if (form.host.trim() === '') return 'The server is missing';
  if (!Number.isInteger(port) || port < 1 || port > 65_535) return 'The port is a number from 1 to 65535';
  if (!/^[^\s@]+@[^\s@]+$/.test(form.senderAddress.trim())) return 'The sender needs an address';
  if (form.senderName.trim() === '') return 'The sender needs a name';
  if (form.password !== '' && form.username.trim() === '') return 'There is a password and no user';
  if (form.username.trim() !== '' && form.password === '' && goesElsewhere(form, kept))
    return 'Type the password again: mail would go another way';
  if (!Number.isInteger(rate) || rate < 1 || rate > 600) return 'Between 1 and 600 messages a minute';
  return undefined;
}

export function toChange(form: MailForm): MailSettingsChange {
  const username = form.username.trim();
  return {
    host: form.host.trim(),
    port: Number(form.port),
    security: form.security,
    leastTls: form.leastTls,
    caCertificates: form.caCertificates.trim() === '' ? null : form.caCertificates,
    username: username === '' ? null : username,
    senderName: form.senderName.trim(),
    senderAddress: form.senderAddress.trim(),
    messagesAMinute: Number(form.messagesAMinute),
    paused: form.paused,
    ...(username === '' ? { password: null } : form.password === '' ? {} : { password: form.password }),
  };
}
