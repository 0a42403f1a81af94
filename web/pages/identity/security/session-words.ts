/** How a way of proving who one is reads. */
import type { SessionItem } from '../../../api/sessions.ts';

export const METHOD_WORDS: Record<SessionItem['methods'][number], string> = {
  password: 'password',
  totp: 'authenticator app',
  passkey: 'passkey',
  'recovery-code': 'recovery code',
  sso: 'single sign-on',
  'sso-second-factor': 'second factor of single sign-on',
  'magic-link': 'link by mail',
  console: 'console',
};
