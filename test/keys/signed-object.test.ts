import { describe, expect, it } from 'vitest';
import {
  appendSignature,
  createLocalRepositoryKeys,
  createSigningKey,
  openKeysObject,
  signStatement,
  statementBytes,
  verifySignature,
  encryptAge,
} from '../../server/keys/index.ts';
import { verifyBytes } from '../../server/lib/ed25519.ts';

const repositoryId = '11111111-2222-4333-8444-555555555555';
const expected = { type: 'snapshot', repositoryId, number: '7' } as const;
const body = Buffer.from('{"type":"snapshot"}\n{"a":1}\n');
const signer = createSigningKey();
const signed = await appendSignature(body, expected, (statement) => signStatement(signer, statement));

describe('signed objects', () => {
  it('one changed byte anywhere is noticed', () => {
    for (let index = 0; index < signed.length; index++) {
      const changed = Buffer.from(signed);
      changed.writeUInt8(changed.readUInt8(index) ^ 1, index);
      expect(() => verifySignature(changed, expected, [signer])).toThrow(
        expect.objectContaining({ code: 'integrity_failure' }),
      );
    }
  });

  it('every truncation is noticed', () => {
    for (let length = 0; length < signed.length; length++) {
      expect(() => verifySignature(signed.subarray(0, length), expected, [signer])).toThrow(
        expect.objectContaining({ code: 'integrity_failure' }),
      );
    }
  });

  it('an object is not taken for one of another type, number or repository, nor from another key', () => {
    const refused = expect.objectContaining({ code: 'integrity_failure' }) as Error;

    expect(() => verifySignature(signed, { ...expected, type: 'index' }, [signer])).toThrow(refused);
    expect(() => verifySignature(signed, { ...expected, number: '8' }, [signer])).toThrow(refused);
    expect(() => verifySignature(signed, { ...expected, repositoryId: 'other' }, [signer])).toThrow(refused);
    expect(() => verifySignature(signed, expected, [createSigningKey()])).toThrow(refused);
    expect(() => verifySignature(signed, expected, [])).toThrow(refused);
  });

  it('a statement with a line break in a part is not signed', () => {
    expect(() => statementBytes({ ...expected, number: '7\n8', sha256: 'a' })).toThrow(
      expect.objectContaining({ code: 'invalid_input' }),
    );
  });

  it('the body comes back as it was', () => {
    expect(verifySignature(signed, expected, [createSigningKey(), signer]).equals(body)).toBe(true);
  });

  it('signatures are plain Ed25519: RFC 8032 section 7.1 test 2', () => {
    const publicKey = Buffer.from('3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c', 'hex');
    const signature = Buffer.from(
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
      'hex',
    );

    expect(verifyBytes(publicKey, Buffer.from([0x72]), signature)).toBe(true);
    expect(verifyBytes(publicKey, Buffer.from([0x73]), signature)).toBe(false);
  });
});

describe('keys objects', () => {
  it('a keys object forged with public knowledge only is refused', async () => {
    const ours = await createLocalRepositoryKeys({ repositoryId });
    const forger = await createLocalRepositoryKeys({ repositoryId });
    const plaintext = await appendSignature(
      Buffer.from(
        `${JSON.stringify({ type: 'keys', version: 1, repository: repositoryId, number: 1 })}\n${JSON.stringify(forger.statement)}\n`,
      ),
      { type: 'keys', repositoryId, number: '1' },
      (statement) => signStatement(forger.trustRoot, statement),
    );
    const forged = await encryptAge(plaintext, [ours.kit.recipient]);

    await expect(
      openKeysObject(forged, [ours.kit.identity], { repositoryId, trustRoot: ours.trustRoot.publicKey }),
    ).rejects.toMatchObject({ code: 'integrity_failure' });
  });

  it('a foreign kit is told that it is the wrong one', async () => {
    const ours = await createLocalRepositoryKeys({ repositoryId });
    const other = await createLocalRepositoryKeys({ repositoryId });

    await expect(
      openKeysObject(ours.keysObject.bytes, [other.kit.identity], {
        repositoryId,
        trustRoot: ours.trustRoot.publicKey,
      }),
    ).rejects.toMatchObject({ code: 'wrong_key' });
  });

  it('a keys object of another repository is refused', async () => {
    const ours = await createLocalRepositoryKeys({ repositoryId });

    await expect(
      openKeysObject(ours.keysObject.bytes, [ours.kit.identity], {
        repositoryId: '99999999-2222-4333-8444-555555555555',
        trustRoot: ours.trustRoot.publicKey,
      }),
    ).rejects.toMatchObject({ code: 'integrity_failure' });
  });

  it('the kit opens what the trust root signed', async () => {
    const ours = await createLocalRepositoryKeys({ repositoryId });

    const statement = await openKeysObject(ours.keysObject.bytes, [ours.kit.identity], {
      repositoryId,
      trustRoot: ours.trustRoot.publicKey,
    });

    expect(statement).toEqual(ours.statement);
    expect(ours.keysObject.name).toMatch(/^keys\/1-[0-9a-f]{64}\.age$/);
  });

  it('a head number is signed once', async () => {
    const { writeKeys } = await createLocalRepositoryKeys({ repositoryId });
    const head = { type: 'head', repositoryId, number: '5', sha256: 'ab'.repeat(32) } as const;
    await writeKeys.sign(head);

    await expect(writeKeys.sign({ ...head, sha256: 'cd'.repeat(32) })).rejects.toMatchObject({
      code: 'conflict',
    });
    await expect(writeKeys.sign({ ...head, number: '4' })).rejects.toMatchObject({ code: 'conflict' });
    expect(await writeKeys.lastHeadNumber()).toBe('5');
  });
});
