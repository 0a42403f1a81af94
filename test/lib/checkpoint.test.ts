/** Vectors: the verifier key and the signed message that C2SP signed-note gives as its example. */
import { createPublicKey, verify } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createSigningKey } from '../../server/keys/index.ts';
import { statementBytes } from '../../server/keys/index.ts';
import {
  logOrigin,
  parseVerifierKey,
  readSignedHead,
  readUnsignedHead,
  signHead,
  verifierKey,
} from '../../server/lib/merkle/checkpoint.ts';
import { verifyBytes } from '../../server/lib/ed25519.ts';

const REPOSITORY = '11111111-2222-4333-8444-555555555555';
const origin = logOrigin(REPOSITORY, '0123456789abcdef');
const key = createSigningKey();
const head = { origin, size: 20852163, root: Buffer.alloc(32, 7) };
const at = new Date('2026-03-01T10:00:00.000Z');
const note = signHead(head, at, key);

describe('the example of C2SP signed-note', () => {
  const material = Buffer.from('AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k', 'base64');
  const signature = Buffer.from(
    'Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=',
    'base64',
  );

  test('its verifier key is what we make of its name and key', () => {
    expect(verifierKey('example.com/foo', material.subarray(1))).toBe(
      'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k',
    );
  });

  test('its signature holds, behind the key id that we make', () => {
    expect(signature.subarray(0, 4).toString('hex')).toBe('530d903a');
    expect(
      verifyBytes(material.subarray(1), Buffer.from('This is an example message.\n'), signature.subarray(4)),
    ).toBe(true);
  });
});

describe('a checkpoint', () => {
  test('has the lines of C2SP tlog-checkpoint, with a plain and a timed signature that node itself verifies', () => {
    const [first, size, root, empty, plain = '', timed = '', end] = note.split('\n');
    const publicKey = createPublicKey({
      key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), key.publicKey]),
      format: 'der',
      type: 'spki',
    });
    const signatureOf = (line: string) => Buffer.from(line.split(' ')[2] ?? '', 'base64');
    const text = `${origin}\n20852163\n${Buffer.alloc(32, 7).toString('base64')}\n`;

    expect([first, size, root, empty, end]).toEqual([
      origin,
      '20852163',
      head.root.toString('base64'),
      '',
      '',
    ]);
    expect(plain.startsWith(`— ${origin} `)).toBe(true);
    expect(verify(null, Buffer.from(text), publicKey, signatureOf(plain).subarray(4))).toBe(true);
    const seconds = signatureOf(timed).readBigUInt64BE(4);
    expect(seconds).toBe(BigInt(at.getTime() / 1000));
    const timedText = `cosignature/v1\ntime ${seconds}\n${text}`;
    expect(verify(null, Buffer.from(timedText), publicKey, signatureOf(timed).subarray(12))).toBe(true);
  });

  test('is read back with its time', () => {
    expect(readSignedHead(note, [createSigningKey().publicKey, key.publicKey])).toEqual({
      ...head,
      at,
      key: 1,
      note,
    });
    expect(readUnsignedHead(note)).toEqual(head);
  });

  test('of an unknown key is not believed', () => {
    expect(readSignedHead(note, [createSigningKey().publicKey])).toBeUndefined();
    expect(readSignedHead(note, [])).toBeUndefined();
  });

  test('with any character changed is not believed, or is no checkpoint', () => {
    for (let index = 0; index < note.length; index += 1) {
      const changed = `${note.slice(0, index)}${note[index] === 'A' ? 'B' : 'A'}${note.slice(index + 1)}`;
      let read: unknown;
      try {
        read = readSignedHead(changed, [key.publicKey]);
      } catch (error) {
        expect(error).toMatchObject({ code: 'integrity_failure' });
      }
      expect([index, read]).toEqual([index, undefined]);
    }
  });

  test('that was cut anywhere is no checkpoint, or not believed', () => {
    for (let length = 0; length < note.length; length += 1) {
      let read: unknown;
      try {
        read = readSignedHead(note.slice(0, length), [key.publicKey]);
      } catch (error) {
        expect(error).toMatchObject({ code: 'integrity_failure' });
      }
      expect([length, read]).toEqual([length, undefined]);
    }
  });

  test('without its timed signature is not believed: its time would be anybody’s', () => {
    expect(readSignedHead(note.split('\n').toSpliced(5, 1).join('\n'), [key.publicKey])).toBeUndefined();
  });

  test('is bound to its log: the same head under another origin is another message', () => {
    const other = signHead({ ...head, origin: logOrigin(REPOSITORY, 'fedcba9876543210') }, at, key);

    expect(
      readSignedHead(other.replaceAll('fedcba9876543210', '0123456789abcdef'), [key.publicKey]),
    ).toBeUndefined();
  });

  test('and a repository object never begin alike, so no signature of one serves for the other', () => {
    const statement = statementBytes({
      type: 'anchor',
      repositoryId: REPOSITORY,
      number: '1',
      sha256: 'ab'.repeat(32),
    });

    expect(statement.toString().split('\n')[0]).toBe('holdfast/1');
    expect(note.split('\n')[0]).toMatch(/^holdfast\.internal\//);
  });
});

describe('a verifier key', () => {
  test('is read back', () => {
    expect(parseVerifierKey(`${verifierKey(origin, key.publicKey)}\n`)).toEqual({
      origin,
      publicKey: Buffer.from(key.publicKey),
    });
  });

  test('of another log, with a changed id, or cut, is refused', () => {
    const whole = verifierKey(origin, key.publicKey);
    for (const wrong of [
      '',
      'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k',
      whole.slice(0, -4),
      whole.replace(/\+[0-9a-f]{8}\+/, '+00000000+'),
    ]) {
      expect(() => parseVerifierKey(wrong)).toThrow(/not the verifier key/);
    }
  });
});
