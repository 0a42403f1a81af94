/**
 * For whom a passkey is made. A browser binds it to the host name of the page, so it is taken from the address the person used, which the
 * guard has compared with the page's origin. A passkey is used only under the name that it was made for.
 */
import { isIP } from 'node:net';
import type { FastifyRequest } from 'fastify';

export interface RelyingParty {
  /** Host name without port. */
  id: string;
  /** `https://host[:port]` of the page. */
  origin: string;
  /** Why no passkey works at this address. */
  impossible: string | undefined;
}

export function relyingPartyOf(request: Pick<FastifyRequest, 'headers'>): RelyingParty {
  const origin = request.headers.origin ?? `https://${request.headers.host ?? 'localhost'}`;
  const id = URL.canParse(origin) ? new URL(origin).hostname : 'localhost';
  const bare = id.replace(/^\[|\]$/g, '');
  return {
    id,
    origin,
    impossible:
      isIP(bare) === 0
        ? undefined
        : 'A passkey belongs to a host name, and this page was opened by an IP address. Open it by its name to use passkeys.',
  };
}
