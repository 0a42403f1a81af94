import { describe, expect, it } from 'vitest';
import { createSigningKey, makeSigningCertificate, readSigningCertificate } from '../../server/keys/index.ts';
import type { SigningKeyPair } from '../../server/keys/trust-root.ts';

const repositoryId = '11111111-2222-4333-8444-555555555555';
const root = createSigningKey();
const signer = createSigningKey();
const validFrom = '2026-03-01T02:00:00.000Z';

const certify = (key: SigningKeyPair, by: SigningKeyPair = root) =>
  makeSigningCertificate(
    repositoryId,
    { id: key.id, publicKey: Buffer.from(key.publicKey).toString('base64'), validFrom },
    by,
  );
const certificate = await certify(signer);
const expected = { repositoryId, trustRoot: root.publicKey };
const refused = expect.objectContaining({ code: 'integrity_failure' }) as Error;

describe('a certificate of a signing key', () => {
  it('of another root, or for another repository, is refused', async () => {
    const foreign = await certify(signer, createSigningKey());
    const elsewhere = { ...expected, repositoryId: '99999999-2222-4333-8444-555555555555' };

    expect(() => readSigningCertificate(foreign, expected)).toThrow(refused);
    expect(() => readSigningCertificate(certificate, elsewhere)).toThrow(refused);
  });

  it('with one changed byte anywhere, or cut short, is refused', () => {
    for (let index = 0; index < certificate.length; index++) {
      const changed = Buffer.from(certificate);
      changed.writeUInt8(changed.readUInt8(index) ^ 1, index);
      expect(() => readSigningCertificate(changed.toString(), expected)).toThrow(refused);
      expect(() => readSigningCertificate(certificate.slice(0, index), expected)).toThrow(refused);
    }
  });

  it('with the key of another one in its place is refused', async () => {
    const [header = ''] = certificate.split('\n');
    const [, otherKey = '', otherSignature = ''] = (await certify(createSigningKey())).split('\n');

    expect(() => readSigningCertificate(`${header}\n${otherKey}\n${otherSignature}\n`, expected)).toThrow(
      refused,
    );
  });

  it('that is no certificate, or endless, is refused', () => {
    for (const text of ['', 'null\nnull\n', '{}\n{}\n', certificate.repeat(20)])
      expect(() => readSigningCertificate(text, expected)).toThrow(refused);
  });

  it('gives the key that it speaks for', () => {
    const { id, publicKey, validFrom: from } = readSigningCertificate(certificate, expected);

    expect([id, Buffer.from(publicKey), from]).toEqual([signer.id, Buffer.from(signer.publicKey), validFrom]);
  });
});
