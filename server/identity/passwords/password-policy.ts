/** Which passwords are taken. Length counts most; composition rules are left out on purpose (NIST SP 800-63B 5.1.1.2). */
import { HoldfastError } from '../../lib/errors.ts';

export const PASSWORD_MIN_BYTES = 8;
export const PASSWORD_MAX_BYTES = 128;

/** Beginnings that people try first; a password is weak when little more than one of these is in it. */
const COMMON = [
  'password',
  'passwort',
  'passw0rd',
  'p@ssword',
  'qwerty',
  'qwertz',
  'azerty',
  'letmein',
  'welcome',
  'admin',
  'administrator',
  'iloveyou',
  'monkey',
  'dragon',
  'football',
  'baseball',
  'sunshine',
  'princess',
  'master',
  'shadow',
  'superman',
  'trustno1',
  'changeme',
  'secret',
  'abc123',
  'login',
  'starwars',
  'whatever',
  'default',
  'hello',
  'test',
  'guest',
  'root',
  'holdfast',
  'summer',
  'winter',
  'spring',
  'autumn',
];
const ROWS = [
  'abcdefghijklmnopqrstuvwxyz',
  '01234567890',
  'qwertyuiop',
  'asdfghjkl',
  'zxcvbnm',
  'qwertzuiop',
  'azertyuiop',
];
/** Distinct "pieces" a password must have once runs, repeats and known words count as one each. */
const MIN_PIECES = 6;

/**
 * Checks a new password, as exactly the bytes given: nothing is trimmed, folded or cut.
 *
 * @param about words that belong to the person or the appliance, such as name and e-mail.
 * @throws HoldfastError `invalid_input` that says what is wrong, never the password.
 */
export function checkPassword(password: string, about: readonly string[] = []): void {
  const bytes = Buffer.byteLength(password);
  if (bytes < PASSWORD_MIN_BYTES) {
    throw weak(`The password is shorter than ${PASSWORD_MIN_BYTES} bytes`);
  }
  if (bytes > PASSWORD_MAX_BYTES) {
    throw new HoldfastError('invalid_input', `The password is longer than ${PASSWORD_MAX_BYTES} bytes`, {
      hint: 'Use a shorter one; four to eight words are plenty.',
    });
  }
  if (countPieces(password, about) < MIN_PIECES) throw weak('The password is easy to guess');
}

/** Characters left after each known word, keyboard run and repetition has become one piece. */
function countPieces(password: string, about: readonly string[]): number {
  let rest = password.normalize('NFKC').toLowerCase();
  const personal = about
    .flatMap((text) => text.toLowerCase().split(/[^\p{L}\p{N}]+/u))
    .filter((word) => word.length >= 4);
  for (const word of [...personal, ...COMMON].sort((a, b) => b.length - a.length))
    rest = rest.replaceAll(word, '\u0001');
  let pieces = 0;
  const characters = Array.from(rest);
  for (let index = 0; index < characters.length; index += 1) {
    if (!continuesRun(characters, index)) pieces += 1;
  }
  return Math.min(pieces, new Set(characters).size + 2);
}

/** True when this character repeats the one before or goes one step along a keyboard or alphabet row. */
function continuesRun(characters: readonly string[], index: number): boolean {
  const before = characters[index - 1];
  const here = characters[index];
  if (before === undefined || here === undefined) return false;
  if (before === here) return true;
  return ROWS.some((row) => row.includes(before + here) || row.includes(here + before));
}

function weak(message: string): HoldfastError {
  return new HoldfastError('invalid_input', message, {
    hint: 'Use four or more words that do not belong together, or a password manager.',
  });
}
