/**
 * Checkpoints: signed tree heads, as text that other tools read too (C2SP signed-note and tlog-checkpoint). The log signs twice with
 * one key: the checkpoint itself (type 0x01), and together with the time (type 0x04, a tlog-cosignature). The first lines of what is
 * signed differ from each other and from every repository object, so no signature can pass for another.
 * @see LOG.md "Checkpoints"
 */
import { hash } from 'node:crypto';
import { signBytes, verifyBytes } from '../ed25519.ts';
import { HoldfastError } from '../errors.ts';
import { HASH_BYTES } from './hashing.ts';
import type { TreeHead } from './verify-proof.ts';

/** What a checkpoint says. */
export interface LogHead extends TreeHead {
  /** Which log: `holdfast.internal/audit/<repository id>/<log id>`. */
  origin: string;
}

/** A checkpoint whose signatures hold. */
export interface SignedHead extends LogHead {
  /** When it was signed, by the clock of whoever signed; whole seconds. */
  at: Date;
  /** Index of the key in the list of those that were known. */
  key: number;
  /** As it was read. */
  note: string;
}

const PLAIN = 1;
const TIMED = 4;
const EM_DASH = '\u2014';
const ORIGIN = /^holdfast\.internal\/audit\/([0-9a-f-]{36})\/([0-9a-f]{16})$/;
/** 16 signatures, as verifiers must accept, of the size of ours. */
const MAX_NOTE_BYTES = 4096;

export function logOrigin(repositoryId: string, logId: string): string {
  return `holdfast.internal/audit/${repositoryId}/${logId}`;
}

/** @returns undefined for an origin that is not one of a Holdfast audit log. */
export function parseOrigin(origin: string): { repositoryId: string; logId: string } | undefined {
  const [, repositoryId, logId] = ORIGIN.exec(origin) ?? [];
  return repositoryId === undefined || logId === undefined ? undefined : { repositoryId, logId };
}

/** The public half as other tools take it: `<origin>+<key id>+<base64>`. */
export function verifierKey(origin: string, publicKey: Uint8Array): string {
  const material = Buffer.concat([Buffer.from([PLAIN]), publicKey]);
  return `${origin}+${noteKeyId(origin, PLAIN, publicKey).toString('hex')}+${material.toString('base64')}`;
}

/** @throws HoldfastError `invalid_input` when it is not the verifier key of an audit log. */
export function parseVerifierKey(text: string): { origin: string; publicKey: Buffer } {
  const [origin = '', keyId = '', material = '', ...more] = text.trim().split('+');
  // Base64 has pluses too.
  const bytes = Buffer.from([material, ...more].join('+'), 'base64');
  const publicKey = bytes.subarray(1);
  const fits = bytes[0] === PLAIN && publicKey.length === 32 && parseOrigin(origin) !== undefined;
  if (fits && noteKeyId(origin, PLAIN, publicKey).toString('hex') === keyId) return { origin, publicKey };
  throw new HoldfastError('invalid_input', 'This is not the verifier key of an audit log', {
    hint: 'It has one line: holdfast.internal/audit/…+8 hex digits+base64.',
  });
}

/** Signs a head and the time. In the appliance only keyd does this. */
export function signHead(
  head: LogHead,
  at: Date,
  key: { publicKey: Uint8Array; privateKey: Uint8Array },
): string {
  const text = checkpointText(head);
  const seconds = Math.floor(at.getTime() / 1000);
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(BigInt(seconds));
  const plain = signBytes(key.privateKey, Buffer.from(text));
  const timed = Buffer.concat([time, signBytes(key.privateKey, timedMessage(seconds, text))]);
  const line = (type: number, signature: Buffer) => {
    const bytes = Buffer.concat([noteKeyId(head.origin, type, key.publicKey), signature]);
    return `${EM_DASH} ${head.origin} ${bytes.toString('base64')}\n`;
  };
  return `${text}\n${line(PLAIN, plain)}${line(TIMED, timed)}`;
}

/**
 * Reads a checkpoint and checks both signatures.
 *
 * @returns undefined when none of the keys has signed it whole.
 * @throws HoldfastError `integrity_failure` when it is not a checkpoint.
 */
export function readSignedHead(note: string, publicKeys: readonly Uint8Array[]): SignedHead | undefined {
  const { text, signatures } = splitNote(note);
  const head = parseCheckpointText(text);
  for (const [key, publicKey] of publicKeys.entries()) {
    const find = (type: number) => {
      const id = noteKeyId(head.origin, type, publicKey);
      return signatures
        .find((one) => one.name === head.origin && one.bytes.subarray(0, 4).equals(id))
        ?.bytes.subarray(4);
    };
    const plain = find(PLAIN);
    const timed = find(TIMED);
    if (plain === undefined || timed?.length !== 72) continue;
    const seconds = timed.readBigUInt64BE(0);
    if (seconds > MAX_SECONDS) continue;
    const holds =
      verifyBytes(publicKey, Buffer.from(text), plain) &&
      verifyBytes(publicKey, timedMessage(Number(seconds), text), timed.subarray(8));
    if (holds) return { ...head, at: new Date(Number(seconds) * 1000), key, note };
  }
  return undefined;
}

/** The head that a note speaks of, whoever signed it. @throws HoldfastError `integrity_failure` when it is not a checkpoint. */
export function readUnsignedHead(note: string): LogHead {
  return parseCheckpointText(splitNote(note).text);
}

/** The last that a `Date` can be: the year 275760. */
const MAX_SECONDS = 8_640_000_000_000n;

function checkpointText({ origin, size, root }: LogHead): string {
  return `${origin}\n${String(size)}\n${Buffer.from(root).toString('base64')}\n`;
}

function timedMessage(seconds: number, text: string): Buffer {
  return Buffer.from(`cosignature/v1\ntime ${String(seconds)}\n${text}`);
}

function noteKeyId(name: string, type: number, publicKey: Uint8Array): Buffer {
  return hash(
    'sha256',
    Buffer.concat([Buffer.from(`${name}\n`), Buffer.from([type]), publicKey]),
    'buffer',
  ).subarray(0, 4);
}

function parseCheckpointText(text: string): LogHead {
  const [origin = '', size = '', root = '', end, ...more] = text.split('\n');
  const hashBytes = Buffer.from(root, 'base64');
  const whole =
    parseOrigin(origin) !== undefined &&
    /^(0|[1-9]\d{0,15})$/.test(size) &&
    Number.isSafeInteger(Number(size)) &&
    hashBytes.length === HASH_BYTES &&
    hashBytes.toString('base64') === root &&
    end === '' &&
    more.length === 0;
  if (!whole) throw notACheckpoint();
  return { origin, size: Number(size), root: hashBytes };
}

function splitNote(note: string): { text: string; signatures: { name: string; bytes: Buffer }[] } {
  const gap = note.lastIndexOf('\n\n');
  if (Buffer.byteLength(note) > MAX_NOTE_BYTES || gap < 0 || !note.endsWith('\n')) throw notACheckpoint();
  const signatures = note
    .slice(gap + 2, -1)
    .split('\n')
    .map((line) => {
      const [, name = '', base64 = ''] = SIGNATURE_LINE.exec(line) ?? [];
      const bytes = Buffer.from(base64, 'base64');
      // One text for one signature: what is changed is changed.
      if (name === '' || bytes.toString('base64') !== base64) throw notACheckpoint();
      return { name, bytes };
    });
  return { text: note.slice(0, gap + 1), signatures };
}

const SIGNATURE_LINE = /^\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/;

function notACheckpoint(): HoldfastError {
  return new HoldfastError('integrity_failure', 'This is not a checkpoint of an audit log');
}
