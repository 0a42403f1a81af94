/**
 * The recovery key of an encrypted data volume, as text: 256 random bits, `XXXX-XXXX-…` in thirteen groups. That text itself is
 * the passphrase of its LUKS key slot, so that stock cryptsetup opens the volume with what the kit says. Plain code without
 * Node's modules: the browser makes keys too.
 */

/** Crockford's base 32: no I, L, O, U, so that nothing is misread. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const BYTES = 32;
const CHARACTERS = 52;

/** A new key. Secret. */
export function makeVolumeRecoveryKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(BYTES));
  let text = '';
  let value = 0;
  let bits = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += ALPHABET.charAt((value >> bits) & 31);
    }
    value &= (1 << bits) - 1;
  }
  return group(text + ALPHABET.charAt((value << (5 - bits)) & 31));
}

/**
 * The key as it is stored and used, from what a person typed: case, spaces and dashes do not matter, nor do O for 0 and I or L
 * for 1.
 *
 * @returns undefined when it has another length or characters that no key has.
 */
export function parseVolumeRecoveryKey(typed: string): string | undefined {
  const text = typed.toUpperCase().replace(/[\s-]/g, '').replaceAll('O', '0').replace(/[IL]/g, '1');
  return text.length === CHARACTERS && /^[0-9A-HJKMNP-TV-Z]+$/.test(text) ? group(text) : undefined;
}

function group(text: string): string {
  return (text.match(/.{4}/g) ?? []).join('-');
}
