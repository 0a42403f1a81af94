/** When browsers of a machine's people are told to insist on its certificate. */
import { describe, expect, test } from 'vitest';
import { insistence } from '../../server/appliance/transport-security.ts';

const INSTALLED = { source: 'installed', selfSigned: false } as const;

describe('nothing is said', () => {
  test.each([
    ['of the certificate that the appliance made', { source: 'own', selfSigned: true }],
    ['of one that was installed and signed itself', { source: 'installed', selfSigned: true }],
  ] as const)('%s', (_name, certificate) => {
    expect(insistence(certificate, [{ kind: 'tpm2' }])).toBeUndefined();
  });
});

describe('with a certificate of an authority', () => {
  test.each(['tpm2', 'kms-hook'] as const)('browsers insist where %s opens the volume', (kind) => {
    expect(insistence(INSTALLED, [{ kind: 'recovery-key' }, { kind }])).toBe('max-age=31536000');
  });

  test('they forget it again where somebody has to reach the unlock page after each restart', () => {
    expect(insistence(INSTALLED, [{ kind: 'recovery-key' }, { kind: 'passphrase' }])).toBe('max-age=0');
  });
});
