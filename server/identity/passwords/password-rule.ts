/**
 * What a new password must be, leaks aside: the same words for the server, which judges, and for the browser, which says so while
 * somebody types. Length counts most; rules about digits and capitals are left out on purpose (NIST SP 800-63B, 3.1.1.2).
 */

export const PASSWORD_MIN_BYTES = 8;
export const PASSWORD_MAX_BYTES = 128;

/** Ten million guesses, of which somebody with a stolen hash makes some ten a second on each core. */
const LEAST_LOG10 = 7;
/** What lies behind is not looked at: the estimate takes longer with the square of the length, and can only grow. */
const LOOKED_AT = 64;

export type Fault = 'too-short' | 'too-long' | 'easy';

export const FAULT_WORDS: Record<Fault, { message: string; hint: string }> = {
  'too-short': {
    message: `The password is shorter than ${PASSWORD_MIN_BYTES} bytes`,
    hint: 'Use four or more words that do not belong together, or a password manager.',
  },
  'too-long': {
    message: `The password is longer than ${PASSWORD_MAX_BYTES} bytes`,
    hint: 'Use a shorter one; four to eight words are plenty.',
  },
  easy: {
    message: 'The password is easy to guess',
    hint: 'Use four or more words that do not belong together, or a password manager.',
  },
};

/** Of exactly these bytes: nothing is trimmed, folded or cut. */
export function lengthFault(password: string): Fault | undefined {
  const bytes = new TextEncoder().encode(password).length;
  if (bytes < PASSWORD_MIN_BYTES) return 'too-short';
  return bytes > PASSWORD_MAX_BYTES ? 'too-long' : undefined;
}

export type Strength = 'weak' | 'fair' | 'good' | 'strong';

/**
 * How hard it is to guess; `weak` is refused.
 *
 * @param about words that belong to the person or the appliance, such as name and e-mail.
 */
export async function estimateStrength(password: string, about: readonly string[]): Promise<Strength> {
  estimator ??= loadEstimator();
  const words = about
    .flatMap((text) => [text, ...text.split(/[^\p{L}\p{N}]+/u)])
    .filter((word) => word !== '');
  const log10 = (await estimator)(password, [...words, 'holdfast']);
  if (log10 < LEAST_LOG10) return 'weak';
  return log10 < 10 ? 'fair' : log10 < 14 ? 'good' : 'strong';
}

/** @returns undefined when nothing speaks against it but that it may have leaked. */
export async function findFault(password: string, about: readonly string[]): Promise<Fault | undefined> {
  return lengthFault(password) ?? ((await estimateStrength(password, about)) === 'weak' ? 'easy' : undefined);
}

/** @returns the guesses that it takes, as a power of ten. */
type Estimator = (password: string, about: string[]) => number;
let estimator: Promise<Estimator> | undefined;

/** Half a megabyte of dictionaries: only for whoever sets a password. */
async function loadEstimator(): Promise<Estimator> {
  const [{ ZxcvbnFactory }, common] = await Promise.all([
    import('@zxcvbn-ts/core'),
    import('@zxcvbn-ts/language-common'),
  ]);
  const { dictionary, adjacencyGraphs: graphs } = common;
  const factory = new ZxcvbnFactory({ dictionary, graphs, maxLength: LOOKED_AT });
  return (password, about) => factory.check(password, about).guessesLog10;
}
