/**
 * Fetches an update from an address that the customer runs, and hands it on to hostd as it comes. The name is resolved once
 * and the connection held to that address; redirects are not followed, addresses of this machine and of its link are refused,
 * and what was cut off is gone on with when the server says that it is still the same file.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { Type, type Static } from 'typebox';
import type { Actor } from '../../audit/index.ts';
import { HoldfastError, messageOf } from '../../lib/errors.ts';
import { pinnedLookup, resolveOutgoing } from '../../lib/outgoing-address.ts';
import { connectHost, requireHost } from '../host/client.ts';
import type { CheckedBundle, PartialBundle } from '../host/updates/schema.ts';
import { uploadBundle, type UpdateServiceDeps } from './service.ts';

export const FetchRequest = Type.Object({
  url: Type.String({ minLength: 10, maxLength: 2048, pattern: '^https://' }),
  /** PEM of the authority that signed the server's certificate, where it is a private one. */
  certificateAuthority: Type.Optional(Type.String({ minLength: 64, maxLength: 65_536 })),
});
export type FetchRequest = Static<typeof FetchRequest>;

const STALL_MS = 60_000;
/** @throws HoldfastError `invalid_input` for an address that is refused, `unavailable` when it does not answer with the file. */
export async function fetchBundle(
  deps: UpdateServiceDeps,
  actor: Actor,
  wanted: FetchRequest,
): Promise<CheckedBundle> {
  const host = requireHost(connectHost(deps.config));
  const url = parseUrl(wanted.url);
  const key = createHash('sha256').update(url.href).digest('hex');
  const partial = await host.get<PartialBundle>(`/updates/partial/${key}`);
  const reply = await openReply(url, wanted, partial);
  const resumed = reply.statusCode === 206;
  const offset = resumed ? partial.offset : 0;
  const length = Number(reply.headers['content-length']);
  const tag = strongTag(reply);
  if (!Number.isSafeInteger(length) || length <= 0) {
    reply.destroy();
    throw new HoldfastError('unavailable', 'The server does not say how long the update is', {
      hint: 'It must send Content-Length. A plain file server does.',
    });
  }
  const query = { key, offset: String(offset), total: String(offset + length), source: 'url' as const };
  return uploadBundle(deps, actor, { ...query, ...(tag === undefined ? {} : { tag }) }, reply);
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '') {
    throw new HoldfastError('invalid_input', 'This is no address that an update can be fetched from', {
      hint: 'It looks like https://updates.example.com/holdfast-2.0.0.raucb, without a name and password in it.',
    });
  }
  return url;
}

async function openReply(url: URL, wanted: FetchRequest, partial: PartialBundle): Promise<IncomingMessage> {
  const addresses = await resolveOutgoing(url.hostname, 'network');
  const resume = partial.offset > 0 && partial.tag !== null;
  const reply = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = httpsRequest(
      url,
      {
        agent: false,
        ...(wanted.certificateAuthority === undefined ? {} : { ca: wanted.certificateAuthority }),
        minVersion: 'TLSv1.2',
        lookup: pinnedLookup(addresses),
        headers: {
          'accept-encoding': 'identity',
          ...(resume ? { range: `bytes=${String(partial.offset)}-`, 'if-range': partial.tag ?? '' } : {}),
        },
      },
      resolve,
    );
    request.setTimeout(STALL_MS, () => request.destroy(new Error('no bytes for a minute')));
    request.on('error', (error) => reject(explain(error, url)));
    request.end();
  });
  if (reply.statusCode === 200 || (resume && reply.statusCode === 206)) return reply;
  reply.destroy();
  const status = String(reply.statusCode);
  throw new HoldfastError('unavailable', `${url.host} answered with status ${status} instead of the update`, {
    hint: status.startsWith('3')
      ? 'Redirects are not followed: give the address of the file itself.'
      : 'Look whether the file is there and may be read without signing in.',
  });
}

/** A weak tag does not promise equal bytes. */
function strongTag(reply: IncomingMessage): string | undefined {
  const { etag } = reply.headers;
  return etag !== undefined && etag.startsWith('"') && etag.length <= 256 ? etag : undefined;
}

function explain(error: Error, url: URL): HoldfastError {
  const certificate = /certificate|self.signed|CERT_|UNABLE_TO_VERIFY/i.test(messageOf(error));
  return new HoldfastError(
    'unavailable',
    certificate
      ? `The certificate of ${url.host} is not trusted: ${messageOf(error)}`
      : `${url.host} cannot be reached: ${messageOf(error)}`,
    {
      hint: certificate
        ? 'Give the certificate of your own authority with the request.'
        : 'Look at the address and at the network settings of this machine.',
      cause: error,
    },
  );
}
