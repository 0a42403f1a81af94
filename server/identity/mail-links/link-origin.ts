/**
 * Under which address a link leads here. Whoever asks for one by typing somebody's address also says, in the head of the request, under
 * which name; a name that is not ours would send the token to a stranger. So it must be one that the certificate stands for, or one of
 * the configuration.
 */
import { checkServerIdentity, type PeerCertificate, type TLSSocket } from 'node:tls';
import type { FastifyRequest } from 'fastify';
import { HoldfastError } from '../../lib/errors.ts';

/** @throws HoldfastError `invalid_input` for a name that nothing vouches for: the same for everybody. */
export function trustedOrigin(request: FastifyRequest, origins: readonly string[]): string {
  const asked = request.headers.origin ?? `https://${request.headers.host ?? ''}`;
  // What stands there word for word goes into a mail: nothing but a name and a port.
  const plain = URL.canParse(asked) && new URL(asked).origin === asked;
  if (!plain) throw noNameOfOurs();
  if (origins.includes(asked) || isNamedInCertificate(request, asked)) return asked;
  throw noNameOfOurs();
}

function noNameOfOurs(): HoldfastError {
  return new HoldfastError('invalid_input', 'Links are sent only for a name of this appliance', {
    hint: 'Open it by a name that its certificate stands for, word for word. Where that has a wildcard, and behind a proxy, HOLDFAST_ORIGINS says the names.',
  });
}

/** For who is signed in: the guard has compared it with the host. */
export function ownOrigin(request: FastifyRequest): string {
  return request.headers.origin ?? `https://${request.headers.host ?? 'localhost'}`;
}

function isNamedInCertificate(request: FastifyRequest, origin: string): boolean {
  if (!URL.canParse(origin)) return false;
  const { hostname, protocol, port } = new URL(origin);
  const socket = request.raw.socket as Partial<TLSSocket>;
  const certificate = socket.getCertificate?.() as PeerCertificate | null | undefined;
  if (protocol !== 'https:' || certificate?.subjectaltname === undefined) return false;
  // Another port of the same name may be somebody else's.
  if (port !== '' && Number(port) !== socket.localPort) return false;
  // Every name below a wildcard has its certificate too, and they need not all be ours.
  const own = certificate.subjectaltname.split(', ').filter((name) => !name.includes('*'));
  const named = { ...certificate, subjectaltname: own.join(', ') };
  return own.length > 0 && checkServerIdentity(hostname.replace(/^\[|\]$/g, ''), named) === undefined;
}
