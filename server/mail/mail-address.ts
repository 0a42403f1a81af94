/** What may stand as an address in an envelope and a header. */
import { HoldfastError } from '../lib/errors.ts';

/** RFC 5321, section 4.5.3.1: 64 bytes before the @, 254 together. Quoted forms, which nobody uses, are left out. */
const ADDRESS = /^[^\s@<>()[\]\\,;:"\p{Cc}\p{Cf}]{1,64}@[^\s@<>()[\]\\,;:"\p{Cc}\p{Cf}]{1,253}$/u;
const LIMIT_BYTES = 254;

/** @returns the address without spaces around it. @throws HoldfastError `invalid_input` when it could not be one. */
export function checkMailAddress(address: string): string {
  const trimmed = address.trim();
  if (ADDRESS.test(trimmed) && Buffer.byteLength(trimmed) <= LIMIT_BYTES) return trimmed;
  throw new HoldfastError('invalid_input', 'This is not an e-mail address', {
    hint: 'For example ada@example.org, without a name beside it.',
  });
}
