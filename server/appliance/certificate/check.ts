/** Whether a certificate and its key serve people without a warning of their browser, as far as that can be told here. Pure. */
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { HoldfastError, messageOf } from '../../lib/errors.ts';

const BLOCK = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;
const MOST_CERTIFICATES = 10;
const CURVES = ['prime256v1', 'secp384r1', 'secp521r1'];
const SERVER_AUTHENTICATION = '1.3.6.1.5.5.7.3.1';

/** Every certificate in a text, in its order. @throws HoldfastError `invalid_input` when there is none, or one is damaged. */
export function parseChain(pem: string): X509Certificate[] {
  const blocks = pem.match(BLOCK) ?? [];
  if (blocks.length === 0 || blocks.length > MOST_CERTIFICATES) {
    throw new HoldfastError('invalid_input', `There are ${blocks.length} certificates in this text`, {
      hint: 'Give PEM: the certificate of this appliance, then those of its authorities, up to ten.',
    });
  }
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (error) {
      throw new HoldfastError('invalid_input', `Certificate ${index + 1} in this text is damaged`, {
        cause: error,
      });
    }
  });
}

/** @throws HoldfastError `invalid_input` for a key that is none, or is locked by a passphrase. */
export function parseKey(pem: string): KeyObject {
  if (pem.includes('ENCRYPTED')) {
    throw new HoldfastError('invalid_input', 'The key is locked by a passphrase', {
      hint: 'Take it off first: `openssl pkey -in locked.pem -out key.pem`.',
    });
  }
  try {
    return createPrivateKey(pem);
  } catch (error) {
    throw new HoldfastError('invalid_input', `This is no private key in PEM: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/**
 * The certificate of the key and its chain, in the order in which a server sends them.
 *
 * @throws HoldfastError `invalid_input` that names what a browser would not take.
 */
export function checkCertificate(given: X509Certificate[], key: KeyObject, now: Date): X509Certificate[] {
  const own = given.find((certificate) => certificate.checkPrivateKey(key));
  if (own === undefined) {
    throw new HoldfastError('invalid_input', 'The key does not belong to the certificate', {
      hint: 'Give the key with it, or make a new request if the one it was made for was replaced.',
    });
  }
  refuseUnfit(own, now);
  return [own, ...issuersOf(own, given)];
}

function refuseUnfit(own: X509Certificate, now: Date): void {
  if (own.ca) throw unfit('This is the certificate of an authority, not of a server');
  if (own.validToDate <= now) throw unfit(`The certificate ran out on ${own.validTo}`);
  if (own.validFromDate > now) throw unfit(`The certificate counts only from ${own.validFrom}`);
  if ((own.subjectAltName ?? '') === '') {
    throw unfit('The certificate names no host: browsers look only at its alternative names');
  }
  const purposes = own.keyUsage as string[] | undefined;
  if (purposes !== undefined && !purposes.includes(SERVER_AUTHENTICATION)) {
    throw unfit('The certificate is not meant for servers');
  }
  const { asymmetricKeyType: kind, asymmetricKeyDetails: details } = own.publicKey;
  if (kind === 'rsa' && (details?.modulusLength ?? 0) >= 2048) return;
  if (kind === 'ec' && CURVES.includes(details?.namedCurve ?? '')) return;
  throw unfit(`Browsers do not take this kind of key: ${describeKey(own)}`);
}

function unfit(message: string): HoldfastError {
  return new HoldfastError('invalid_input', message, {
    hint: 'Have another one made. A request from this page asks for the right kind.',
  });
}

/** As far as the given ones reach; the root itself is left out, because who trusts it has it. */
function issuersOf(own: X509Certificate, given: readonly X509Certificate[]): X509Certificate[] {
  const chain: X509Certificate[] = [];
  for (let at = own; chain.length < given.length;) {
    const issuer = given.find((one) => one !== at && at.checkIssued(one) && at.verify(one.publicKey));
    if (issuer === undefined || isSelfSigned(issuer)) break;
    chain.push(issuer);
    at = issuer;
  }
  return chain;
}

export function isSelfSigned(certificate: X509Certificate): boolean {
  return certificate.subject === certificate.issuer && certificate.verify(certificate.publicKey);
}

/** `P-256`, `RSA 2048`. */
export function describeKey(certificate: X509Certificate): string {
  const { asymmetricKeyType: kind = '', asymmetricKeyDetails: details } = certificate.publicKey;
  if (kind === 'rsa') return `RSA ${details?.modulusLength ?? 0}`;
  const curve = details?.namedCurve ?? kind;
  return { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' }[curve] ?? curve;
}
