import { describe, expect, it } from 'vitest';
import {
  answerKitChallenge,
  createKitChallenge,
  encryptAge,
  generateAgeIdentity,
  kitToJson,
  kitToText,
  makeRecoveryKit,
  parseRecoveryKit,
  splitIdentity,
} from '../../server/keys/index.ts';

const pair = await generateAgeIdentity();
const kit = makeRecoveryKit({
  kitId: '11111111-2222-4333-8444-555555555555',
  applianceName: 'Archive of Ünal & Co. (north)',
  createdAt: '2026-01-02T03:04:05.000Z',
  repositoryId: '22222222-2222-4333-8444-555555555555',
  trustRoot: Buffer.alloc(32, 7).toString('base64'),
  ageIdentity: pair.identity,
  targets: [{ name: 'Vault (A)', kind: 'directory', location: '/mnt/backup (old)' }],
});

describe('the recovery kit', () => {
  it.each([
    ['nothing', '  \n '],
    ['something else', '{"kind":"other"}'],
    ['broken JSON', '{"kind":'],
    ['a newer format', JSON.stringify({ ...kit, format: 2 })],
    ['a newer text', kitToText(kit).replace('format 1', 'format 2')],
    ['a text with a damaged target', kitToText(kit).replace('"Vault', '"\\q')],
    ['half a secret key', splitIdentity(pair.identity)[0]],
    ['a public key', pair.recipient],
    ['a target without a place', JSON.stringify({ ...kit, targets: [{ name: 'a', kind: 'directory' }] })],
    ['a name with a line break', JSON.stringify({ ...kit, applianceName: 'a\nTrust root: x' })],
  ])('%s is refused, and the refusal does not repeat the secret', (_what, given) => {
    try {
      parseRecoveryKit(given);
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: 'invalid_input' });
      expect(String(error)).not.toContain(pair.identity.slice(20, 36));
    }
  });

  it('a text longer than any kit is refused', () => {
    expect(() => parseRecoveryKit('A'.repeat(70_000))).toThrow(
      expect.objectContaining({ code: 'too_large' }),
    );
  });

  it('both forms give the same kit back, also with Windows line ends', () => {
    expect(parseRecoveryKit(kitToJson(kit)).kit).toEqual(kit);
    expect(parseRecoveryKit(kitToText(kit)).kit).toEqual(kit);
    expect(parseRecoveryKit(`\uFEFF${kitToText(kit).replaceAll('\n', '\r\n')}`).kit).toEqual(kit);
  });

  it('the text form ends with the secret key on its last two lines', () => {
    const lines = kitToText(kit).trimEnd().split('\n');

    expect(lines.slice(-2).join('')).toBe(pair.identity);
  });

  it('the secret key typed alone is enough, in any case and spacing', () => {
    const [first, second] = splitIdentity(pair.identity);

    expect(parseRecoveryKit(`${first.toLowerCase()}\n ${second.slice(0, 9)} ${second.slice(9)}\n`)).toEqual({
      ageIdentity: pair.identity,
      kit: undefined,
    });
  });
});

describe('the proof of a kit', () => {
  it('another key does not answer the challenge', async () => {
    const other = await generateAgeIdentity();
    const { challenge } = await createKitChallenge(kit.kitId, pair.recipient);

    await expect(answerKitChallenge(kit.kitId, other.identity, challenge)).rejects.toMatchObject({
      code: 'wrong_key',
    });
  });

  it('a hostile page cannot have anything else opened', async () => {
    const { challenge } = await createKitChallenge(kit.kitId, pair.recipient);
    const other = (await encryptAge(Buffer.from('a file key'), [pair.recipient])).toString('base64');

    await expect(answerKitChallenge(kit.kitId, pair.identity, other)).rejects.toMatchObject({
      code: 'invalid_input',
    });
    await expect(answerKitChallenge('another kit', pair.identity, challenge)).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });

  it.each([pair.identity, 'age1', 'age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq'])(
    'something that is no public key gets no challenge (%#)',
    async (recipient) => {
      await expect(createKitChallenge(kit.kitId, recipient)).rejects.toMatchObject({ code: 'invalid_input' });
    },
  );

  it('the holder of the key answers it', async () => {
    const { challenge, expected } = await createKitChallenge(kit.kitId, pair.recipient);

    expect(await answerKitChallenge(kit.kitId, pair.identity, challenge)).toBe(expected);
  });
});
