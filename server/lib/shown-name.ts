/**
 * Names that people read to tell one person, workspace or key from another: two that look alike must not differ by what nobody sees, and
 * none may turn the words around it. Also runs in the browser.
 */
import { HoldfastError } from './errors.ts';

/** Scripts in which the joiners change nothing that is seen: there they only tell equal names apart. */
const UNJOINED =
  '[\\p{Script=Latin}\\p{Script=Greek}\\p{Script=Cyrillic}\\p{Script=Han}\\p{Script=Hangul}\\p{Script=Hiragana}\\p{Script=Katakana}]';
const WORD = `(?!${UNJOINED})[\\p{L}\\p{M}]`;
const PICTURE = '[\\p{Extended_Pictographic}\\p{Emoji_Modifier}\\ufe0f]';
/** Joiners inside a word of a script that needs them or in a picture, and the variants of pictures and ideographs. */
const NEEDED = new RegExp(
  [
    `(?<=${WORD})[\\u200c\\u200d](?=${WORD})`,
    `(?<=${PICTURE})\\u200d(?=${PICTURE})`,
    '(?<=\\p{Extended_Pictographic})[\\ufe0e\\ufe0f]',
    '(?<=\\p{Script=Han})[\\u{e0100}-\\u{e01ef}]',
  ].join('|'),
  'gu',
);
/** Also what turns the direction of writing, the fillers of Hangul and the blank of Braille. */
const UNSEEN = /[\p{Default_Ignorable_Code_Point}\p{Bidi_Control}\u2800]/gu;
const CONTROL = /[\p{Cc}\u2028\u2029]/u;

/**
 * One form for names that look the same, to compare them by: of names, too, that are older than this rule.
 */
export function comparableName(name: string): string {
  return tidy(name.replace(UNSEEN, '').replace(new RegExp(CONTROL, 'gu'), ' '));
}

/**
 * The name as it is kept: composed, without blanks around it, and with one blank where several were.
 *
 * @param what begins the refusal: "The name".
 *
 * @throws HoldfastError `invalid_input` when nothing of it is seen, or it holds what is not.
 */
export function checkShownName(name: string, what = 'The name'): string {
  const trimmed = name.trim();
  if (trimmed === '' || CONTROL.test(trimmed))
    throw new HoldfastError('invalid_input', `${what} is empty or holds control characters`);
  if (!trimmed.isWellFormed()) throw new HoldfastError('invalid_input', `${what} is not valid Unicode`);
  const tidied = tidy(trimmed);
  if (!/[\p{L}\p{N}\p{P}\p{S}]/u.test(tidied.replace(UNSEEN, '')))
    throw new HoldfastError('invalid_input', `${what} holds nothing that can be seen`, {
      hint: 'Give it at least one letter or digit.',
    });
  const unseen = tidied.replace(NEEDED, '').match(UNSEEN);
  if (unseen !== null)
    throw new HoldfastError(
      'invalid_input',
      `${what} holds characters that are not seen or turn the direction of writing`,
      { hint: `Type it anew, without ${[...new Set(unseen.map(codePoint))].slice(0, 3).join(', ')}.` },
    );
  return tidied;
}

function tidy(name: string): string {
  return name
    .normalize('NFC')
    .replace(/\p{Zs}+/gu, ' ')
    .trim();
}

function codePoint(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;
}
