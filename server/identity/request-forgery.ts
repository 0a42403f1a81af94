/**
 * Defence against requests that another site makes a browser send (OWASP ASVS 5.0, 3.5). Three independent signs, beside
 * the cookie's `SameSite=Strict`: a header that only script of our own origin can set, `Origin`, and `Sec-Fetch-Site`.
 */
import type { FastifyRequest } from 'fastify';
import { HoldfastError } from '../lib/errors.ts';

const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * @param origins further origins under which people reach the appliance, beside the one in the `Host` header.
 * @throws HoldfastError `forbidden` for a state-changing request that did not come from our own pages or a program.
 */
export function refuseForgedRequest(request: FastifyRequest, origins: readonly string[]): void {
  if (SAFE_METHODS.has(request.method)) return;
  const { origin, host, 'sec-fetch-site': site, 'x-holdfast': mark } = request.headers;
  if (mark !== '1') throw forged('the header x-holdfast: 1 is missing');
  if (site !== undefined && site !== 'same-origin') throw forged('it comes from another site');
  if (origin === undefined) return;
  if (origin !== `https://${host ?? ''}` && !origins.includes(origin))
    throw forged('it comes from another origin');
}

function forged(reason: string): HoldfastError {
  return new HoldfastError('forbidden', `This request is refused: ${reason}`, {
    hint: 'Use the pages of this appliance. If it is reached under another name, add that to HOLDFAST_ORIGINS.',
  });
}
