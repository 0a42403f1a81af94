/**
 * A passkey without a browser: what an authenticator does, by node:crypto (Web Authentication level 3, sections 6.1 and 6.5). Made from a
 * seed, so that whoever knows the e-mail address has it again in another process; no code is used up by signing in with it.
 */
import { createECDH, createHash, createPrivateKey, createPublicKey, sign, type KeyObject } from 'node:crypto';

export interface SoftwarePasskey {
  credentialId: Buffer;
  /** P-256. */
  privateKey: KeyObject;
  /** Of the next use: more than at the one before, in another process too. */
  counter: () => number;
}

export function softwarePasskey(seed: string): SoftwarePasskey {
  const scalar = createHash('sha256').update(`passkey of ${seed}`).digest();
  const curve = createECDH('prime256v1');
  curve.setPrivateKey(scalar);
  const point = curve.getPublicKey();
  const privateKey = createPrivateKey({
    format: 'jwk',
    key: {
      kty: 'EC',
      crv: 'P-256',
      d: scalar.toString('base64url'),
      x: point.subarray(1, 33).toString('base64url'),
      y: point.subarray(33).toString('base64url'),
    },
  });
  return {
    credentialId: createHash('sha256').update(`credential of ${seed}`).digest(),
    privateKey,
    counter: nextCount,
  };
}

let lastCount = 0;

/** Tenths of a second since November 2023, or one more than the last. */
export function nextCount(): number {
  lastCount = Math.max(lastCount + 1, Math.floor((Date.now() - 1_700_000_000_000) / 100));
  return lastCount;
}

/** What an answer claims, where a test wants another than the right one. */
export interface Claims {
  /** Whether the person was verified. Default true. */
  verified?: boolean;
  relyingParty?: string;
}

interface RequestOptions {
  challenge: string;
  rpId?: string;
  rp?: { id?: string };
}

/** The answer to `navigator.credentials.create`. */
export function attest(passkey: SoftwarePasskey, options: unknown, origin: string, claims: Claims = {}) {
  const { challenge, rp } = options as RequestOptions;
  const length = Buffer.alloc(2);
  length.writeUInt16BE(passkey.credentialId.length);
  const authData = Buffer.concat([
    authenticatorData(passkey, claims.relyingParty ?? rp?.id ?? '', 0x40, claims),
    Buffer.alloc(16),
    length,
    passkey.credentialId,
    coseKey(passkey.privateKey),
  ]);
  const attestationObject = Buffer.concat([
    Buffer.from([0xa3]),
    ...[cborText('fmt'), cborText('none'), cborText('attStmt'), Buffer.from([0xa0])],
    ...[cborText('authData'), cborBytes(authData)],
  ]);
  return {
    ...credential(passkey),
    response: {
      clientDataJSON: clientData('webauthn.create', challenge, origin).toString('base64url'),
      attestationObject: attestationObject.toString('base64url'),
      transports: ['internal'],
    },
  };
}

/** The answer to `navigator.credentials.get`. */
export function assertWith(passkey: SoftwarePasskey, options: unknown, origin: string, claims: Claims = {}) {
  const { challenge, rpId } = options as RequestOptions;
  const authData = authenticatorData(passkey, claims.relyingParty ?? rpId ?? '', 0, claims);
  const client = clientData('webauthn.get', challenge, origin);
  const signed = Buffer.concat([authData, createHash('sha256').update(client).digest()]);
  return {
    ...credential(passkey),
    response: {
      clientDataJSON: client.toString('base64url'),
      authenticatorData: authData.toString('base64url'),
      signature: sign('sha256', signed, passkey.privateKey).toString('base64url'),
    },
  };
}

function credential(passkey: SoftwarePasskey) {
  const id = passkey.credentialId.toString('base64url');
  return { id, rawId: id, type: 'public-key' as const, clientExtensionResults: {} };
}

function authenticatorData(
  passkey: SoftwarePasskey,
  relyingParty: string,
  more: number,
  { verified = true }: Claims,
): Buffer {
  const counter = Buffer.alloc(4);
  counter.writeUInt32BE(passkey.counter());
  const flags = 0x01 | (verified ? 0x04 : 0) | more;
  return Buffer.concat([createHash('sha256').update(relyingParty).digest(), Buffer.from([flags]), counter]);
}

function clientData(type: string, challenge: string, origin: string): Buffer {
  return Buffer.from(JSON.stringify({ type, challenge, origin, crossOrigin: false }));
}

/** RFC 9053 section 7.1.1, ES256. */
function coseKey(privateKey: KeyObject): Buffer {
  const { x = '', y = '' } = createPublicKey(privateKey).export({ format: 'jwk' });
  return Buffer.concat([
    Buffer.from([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21]),
    cborBytes(Buffer.from(x, 'base64url')),
    Buffer.from([0x22]),
    cborBytes(Buffer.from(y, 'base64url')),
  ]);
}

function cborText(text: string): Buffer {
  return Buffer.concat([Buffer.from([0x60 + text.length]), Buffer.from(text)]);
}

function cborBytes(bytes: Buffer): Buffer {
  const head = bytes.length < 256 ? [0x58, bytes.length] : [0x59, bytes.length >> 8, bytes.length & 255];
  return Buffer.concat([Buffer.from(head), bytes]);
}
