import { createHash, randomBytes } from 'node:crypto';
import { inflateSync } from 'node:zlib';
import { armor, Decrypter, Encrypter, generateHybridIdentity, identityToRecipient } from 'age-encryption';
import * as vectorFiles from 'cctv-age';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HoldfastError } from '../../server/lib/errors.ts';
import {
  ageRecipientOf,
  decryptAge,
  encryptAge,
  findAgeHeaderLength,
  generateAgeIdentity,
  makeAgeHeader,
  openAgeHeader,
  type AgeIdentity,
} from '../../server/keys/age.ts';
import {
  coverRange,
  createStreamDecryptor,
  createStreamEncryptor,
  deriveStreamKey,
  openRange,
  plainSize,
  sealedSize,
  STREAM_CHUNK_BYTES,
  STREAM_NONCE_BYTES,
} from '../../server/keys/age-stream.ts';

interface Vector {
  name: string;
  expect: string;
  payloadHash: string | undefined;
  armored: boolean;
  identities: AgeIdentity[];
  body: Uint8Array;
}

function parseVector(name: string, file: Uint8Array): Vector {
  const bytes = Buffer.from(file);
  const split = bytes.indexOf('\n\n');
  const fields = bytes
    .subarray(0, split)
    .toString()
    .split('\n')
    .map((line) => line.split(': ') as [string, string]);
  const field = (key: string): string | undefined => fields.find(([name]) => name === key)?.[1];
  const identities: AgeIdentity[] = [];
  for (const [key, value] of fields) {
    if (key === 'identity') identities.push(value);
    if (key === 'passphrase') identities.push({ passphrase: value });
  }
  let body: Uint8Array = bytes.subarray(split + 2);
  if (field('compressed') === 'zlib') body = inflateSync(body);
  return {
    name,
    expect: field('expect') ?? '',
    payloadHash: field('payload'),
    armored: field('armored') === 'yes',
    identities,
    body,
  };
}

const exported = vectorFiles as unknown as Record<string, unknown>;
const vectors = Object.entries((exported.default ?? exported) as Record<string, Uint8Array>)
  .filter(([, file]) => file instanceof Uint8Array)
  .map(([name, file]) => parseVector(name, file));

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

function dearmor(vector: Vector): Uint8Array {
  return vector.armored ? armor.decode(Buffer.from(vector.body).toString('latin1')) : vector.body;
}

/** Decrypts in pieces of `step` bytes; returns what came out before any error, and the error. */
async function decryptInSteps(data: Uint8Array, identities: AgeIdentity[], step: number) {
  const { fileKey, headerLength } = await openAgeHeader(data, identities);
  const codec = createStreamDecryptor(fileKey);
  const pieces: Buffer[] = [];
  try {
    for (let at = headerLength; at < data.length; at += step) {
      pieces.push(...codec.update(data.subarray(at, at + step)));
    }
    pieces.push(...codec.finish());
  } catch (error) {
    return { plain: Buffer.concat(pieces), error };
  }
  return { plain: Buffer.concat(pieces), error: undefined };
}

async function decryptWithLibrary(data: Uint8Array, identities: AgeIdentity[]): Promise<Uint8Array> {
  const decrypter = new Decrypter();
  for (const identity of identities) {
    if (typeof identity === 'string') decrypter.addIdentity(identity);
    else decrypter.addPassphrase(identity.passphrase);
  }
  return decrypter.decrypt(data);
}

async function libraryOutputBeforeError(data: Uint8Array, identities: AgeIdentity[]): Promise<Buffer> {
  const decrypter = new Decrypter();
  for (const identity of identities) if (typeof identity === 'string') decrypter.addIdentity(identity);
  const source = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(Uint8Array.from(data));
      controller.close();
    },
  });
  const pieces: Uint8Array[] = [];
  try {
    for await (const piece of await decrypter.decrypt(source)) pieces.push(piece);
  } catch {
    return Buffer.concat(pieces);
  }
  throw new Error('the library accepted what it must refuse');
}

const EXPECTED_CODE: Record<string, string> = {
  'no match': 'wrong_key',
  'header failure': 'integrity_failure',
  'HMAC failure': 'integrity_failure',
};

test('there are 143 official vectors', () => {
  expect(vectors).toHaveLength(143);
});

describe.each(vectors)('age vector $name ($expect)', (vector) => {
  if (vector.expect === 'success') {
    test('opens by the library, whole, streamed and byte by byte', async () => {
      const data = dearmor(vector);

      const plain = await decryptAge(data, vector.identities);

      expect(sha256(plain)).toBe(vector.payloadHash);
      expect(sha256(await decryptWithLibrary(data, vector.identities))).toBe(vector.payloadHash);
      for (const step of data.length > 100_000 ? [65_536, 4099, 61] : [65_536, 4099, 1]) {
        const streamed = await decryptInSteps(data, vector.identities, step);
        expect(streamed.error).toBeUndefined();
        expect(sha256(streamed.plain)).toBe(vector.payloadHash);
      }
    });
    return;
  }
  test('is refused by both, and hands out nothing unverified', async () => {
    if (vector.expect === 'armor failure') {
      expect(() => dearmor(vector)).toThrow();
      return;
    }
    let data: Uint8Array;
    try {
      data = dearmor(vector);
    } catch {
      // Some header failures are armour that is none.
      expect(vector.armored).toBe(true);
      return;
    }
    await expect(decryptWithLibrary(data, vector.identities)).rejects.toThrow();
    const error = await decryptAge(data, vector.identities).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(HoldfastError);
    const code = EXPECTED_CODE[vector.expect] ?? 'integrity_failure';
    expect((error as HoldfastError).code).toBe(code);
    if (vector.expect !== 'payload failure') return;
    for (const step of [65_536, 4099]) {
      const streamed = await decryptInSteps(data, vector.identities, step);
      expect((streamed.error as HoldfastError).code).toBe('integrity_failure');
      // The reference tells a last chunk by trying both nonces; the library and we know it by its place, and so may hand
      // out less before the error, never more.
      expect(streamed.plain.equals(await libraryOutputBeforeError(data, vector.identities))).toBe(true);
    }
  });
});

describe('refusals', () => {
  test('encrypting to no recipient is refused', async () => {
    await expect(encryptAge(Buffer.from('x'), [])).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(makeAgeHeader([])).rejects.toMatchObject({ code: 'invalid_input' });
  });

  test('post-quantum and classic recipients together are refused', async () => {
    const classic = await generateAgeIdentity();
    const strong = await identityToRecipient(await generateHybridIdentity());

    await expect(makeAgeHeader([classic.recipient, strong])).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });

  test('something that is no recipient is refused', async () => {
    await expect(makeAgeHeader(['ssh-ed25519 AAAA'])).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(makeAgeHeader(['age1nonsense'])).rejects.toMatchObject({ code: 'invalid_input' });
  });

  test('a foreign identity is a wrong key, not damage', async () => {
    const [ours, foreign] = [await generateAgeIdentity(), await generateAgeIdentity()];
    const file = await encryptAge(Buffer.from('secret'), [ours.recipient]);

    await expect(decryptAge(file, [foreign.identity])).rejects.toMatchObject({ code: 'wrong_key' });
  });

  test('text that is no identity is refused without repeating it', async () => {
    const error = await ageRecipientOf('AGE-SECRET-KEY-1WRONG').catch((thrown: unknown) => thrown);

    expect((error as HoldfastError).code).toBe('invalid_input');
    expect(JSON.stringify(error) + (error as HoldfastError).message).not.toContain('WRONG');
  });

  test('every truncation of a file is refused', async () => {
    const { identity, recipient } = await generateAgeIdentity();
    const file = await encryptAge(randomBytes(300), [recipient]);

    for (let length = 0; length < file.length; length++) {
      await expect(decryptAge(file.subarray(0, length), [identity])).rejects.toMatchObject({
        code: 'integrity_failure',
      });
    }
  });

  test('truncation at a chunk boundary is refused', async () => {
    const { identity, recipient } = await generateAgeIdentity();
    const file = await encryptAge(randomBytes(3 * STREAM_CHUNK_BYTES), [recipient]);
    const cut = file.subarray(0, file.length - (STREAM_CHUNK_BYTES + 16));

    await expect(decryptAge(cut, [identity])).rejects.toMatchObject({ code: 'integrity_failure' });
  });

  test('a flipped bit anywhere is refused', async () => {
    const { identity, recipient } = await generateAgeIdentity();
    const file = await encryptAge(randomBytes(100), [recipient]);

    for (let at = 0; at < file.length; at++) {
      const flipped = Buffer.from(file);
      flipped[at] = (flipped[at] ?? 0) ^ 1;
      await expect(decryptAge(flipped, [identity])).rejects.toBeInstanceOf(HoldfastError);
    }
  });
});

describe('both ways', () => {
  const sizes = [0, 1, 65_535, 65_536, 65_537, 131_072, 200_001];

  test.each(sizes)('the library reads %i bytes that we encrypted, and we what it encrypted', async (size) => {
    const { identity, recipient } = await generateAgeIdentity();
    const plain = randomBytes(size);

    const ours = await encryptAge([plain.subarray(0, 100), plain.subarray(100)], [recipient]);
    const encrypter = new Encrypter();
    encrypter.addRecipient(recipient);
    const theirs = await encrypter.encrypt(plain);

    expect(Buffer.from(await decryptWithLibrary(ours, [identity])).equals(plain)).toBe(true);
    expect((await decryptAge(theirs, [identity])).equals(plain)).toBe(true);
  });

  test('post-quantum recipients work both ways', async () => {
    const identity = await generateHybridIdentity();
    const file = await encryptAge(Buffer.from('strong'), [await ageRecipientOf(identity)]);

    expect((await decryptAge(file, [identity])).toString()).toBe('strong');
    expect(Buffer.from(await decryptWithLibrary(file, [identity])).toString()).toBe('strong');
  });

  test('every one of several recipients opens the file', async () => {
    const pairs = await Promise.all([1, 2, 3].map(() => generateAgeIdentity()));
    const file = await encryptAge(
      Buffer.from('shared'),
      pairs.map((pair) => pair.recipient),
    );

    for (const { identity } of pairs) {
      expect((await decryptAge(file, [identity])).toString()).toBe('shared');
    }
  });

  test('pieces of any size give the same payload', async () => {
    const { identity, recipient } = await generateAgeIdentity();
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 90_000 }), { maxLength: 6 }), async (lengths) => {
        const { header, fileKey } = await makeAgeHeader([recipient]);
        const parts = lengths.map((length) => randomBytes(length));
        const codec = createStreamEncryptor(fileKey);
        const sealed = [header, ...parts.flatMap((part) => codec.update(part)), ...codec.finish()];
        const file = Buffer.concat(sealed);

        const plain = Buffer.concat(parts);
        expect(file.length - header.length - STREAM_NONCE_BYTES).toBe(sealedSize(plain.length));
        expect((await decryptAge(file, [identity])).equals(plain)).toBe(true);
        expect(findAgeHeaderLength(file)).toBe(header.length);
      }),
      { numRuns: 25 },
    );
  });
});

describe('ranges', () => {
  const fileKey = randomBytes(16);
  const plain = randomBytes(3 * STREAM_CHUNK_BYTES + 777);
  const codec = createStreamEncryptor(fileKey);
  const payload = Buffer.concat([...codec.update(plain), ...codec.finish()]);
  const streamKey = deriveStreamKey(fileKey, payload.subarray(0, STREAM_NONCE_BYTES));
  const sealed = payload.subarray(STREAM_NONCE_BYTES);

  test('a range outside of the payload is refused', () => {
    expect(() => coverRange(plain.length, 1, plain.length)).toThrow(HoldfastError);
    expect(() => coverRange(-1, 1, plain.length)).toThrow(HoldfastError);
  });

  test('any range equals the slice, and every flipped chunk in it is noticed', () => {
    const range = fc
      .tuple(fc.nat(plain.length), fc.nat(plain.length))
      .map(([a, b]): [number, number] => (a < b ? [a, b] : [b, a]));
    fc.assert(
      fc.property(range, fc.nat(), ([from, to], flip) => {
        const cover = coverRange(from, to - from, plain.length);
        const part = Buffer.from(
          sealed.subarray(cover.sealedOffset, cover.sealedOffset + cover.sealedLength),
        );
        expect(openRange(streamKey, cover, part).equals(plain.subarray(from, to))).toBe(true);

        const at = flip % part.length;
        part[at] = (part[at] ?? 0) ^ 0x40;
        expect(() => openRange(streamKey, cover, part)).toThrow(HoldfastError);
      }),
      { numRuns: 60 },
    );
  });

  test('a payload cut at a chunk boundary does not pass for a whole one', () => {
    const cut = sealed.subarray(0, 3 * (STREAM_CHUNK_BYTES + 16));
    const cover = coverRange(0, 3 * STREAM_CHUNK_BYTES, plainSize(cut.length));

    expect(() => openRange(streamKey, cover, cut)).toThrow(HoldfastError);
  });

  test('sizes of plaintext and sealed bytes are each other’s inverse', () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), (bytes) => {
        expect(plainSize(sealedSize(bytes))).toBe(bytes);
      }),
    );
    expect(() => plainSize(15)).toThrow(HoldfastError);
    expect(() => plainSize(STREAM_CHUNK_BYTES + 16 + 16)).toThrow(HoldfastError);
  });
});
