/**
 * What no honest client sends is refused before a route is looked at. Node's parser refuses by itself: `Content-Length` with
 * `Transfer-Encoding`, two lengths, a space before a colon, a bare line feed, no `Host`, more than 16 KiB of headers.
 */
import type { FastifyRequest } from 'fastify';
import { HoldfastError } from '../errors.ts';

/** Bytes of all headers together (Node's own limit, said so that nothing changes it unseen). */
export const MOST_HEADER_BYTES = 16_384;
const MOST_HEADERS = 100;
const MOST_URL_BYTES = 8_192;

/** Those that mean something to the access guard: said twice, two programs could read two things. */
const ONCE = new Set([
  'host',
  'origin',
  'authorization',
  'cookie',
  'content-type',
  'x-holdfast',
  'sec-fetch-site',
]);

/** @throws HoldfastError `invalid_input` that says what is odd. */
export function refuseOddRequest({ raw }: Pick<FastifyRequest, 'raw'>): void {
  const { rawHeaders, url = '' } = raw;
  if (rawHeaders.length > MOST_HEADERS * 2) throw odd(`it has more than ${MOST_HEADERS} headers`);
  if (url.length > MOST_URL_BYTES) throw odd(`its address is longer than ${MOST_URL_BYTES} bytes`);
  if (!url.startsWith('/')) throw odd('its address does not begin with /');
  // Raw control characters cannot come this far; written as %00 they are in no name of ours.
  if (url.includes('%00')) throw odd('its address holds a zero byte');
  const seen = new Set<string>();
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]?.toLowerCase() ?? '';
    if (!ONCE.has(name)) continue;
    if (seen.has(name)) throw odd(`it has the header ${name} twice`);
    seen.add(name);
  }
}

function odd(what: string): HoldfastError {
  return new HoldfastError('invalid_input', `This request is refused: ${what}`);
}
