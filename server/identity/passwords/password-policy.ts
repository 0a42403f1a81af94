/** Which passwords are taken. The server judges, wherever one is set. */
import { HoldfastError } from '../../lib/errors.ts';
import { isLeaked, type LeakDeps } from './leaked-passwords.ts';
import { FAULT_WORDS, findFault } from './password-rule.ts';

/**
 * Checks a new password, as exactly the bytes given.
 *
 * @param about words that belong to the person or the appliance, such as name and e-mail.
 * @throws HoldfastError `invalid_input` that says what is wrong, never the password.
 */
export async function checkPassword(
  deps: LeakDeps,
  password: string,
  about: readonly string[] = [],
): Promise<void> {
  const fault = await findFault(password, about);
  if (fault !== undefined) {
    const { message, hint } = FAULT_WORDS[fault];
    throw new HoldfastError('invalid_input', message, { hint });
  }
  if (await isLeaked(deps, password)) {
    throw new HoldfastError(
      'invalid_input',
      'This password has leaked somewhere: it is in lists that attackers try',
      {
        hint: 'It says nothing about you, others may have used it too. Choose another; a password manager makes good ones.',
      },
    );
  }
}
