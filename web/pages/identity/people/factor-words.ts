/** How the second factors of somebody read. */
import type { PersonEntry } from '../../../api/people.ts';
import { plural } from '../../../lib/format.ts';

type WithFactors = Pick<PersonEntry, 'secondFactors'>;

export function hasFactors({ secondFactors }: WithFactors): boolean {
  const { authenticatorApp, passkeys, recoveryCodes } = secondFactors;
  return authenticatorApp || passkeys > 0 || recoveryCodes > 0;
}

/** `Authenticator app, 2 passkeys, 8 recovery codes`. */
export function factorWords(person: WithFactors): string {
  const { authenticatorApp, passkeys, recoveryCodes, required } = person.secondFactors;
  if (!hasFactors(person)) return required ? 'None yet; one must be added at the next sign-in' : 'None';
  return [
    ...(authenticatorApp ? ['Authenticator app'] : []),
    ...(passkeys > 0 ? [plural(passkeys, 'passkey')] : []),
    ...(recoveryCodes > 0 ? [plural(recoveryCodes, 'recovery code')] : []),
  ].join(', ');
}
