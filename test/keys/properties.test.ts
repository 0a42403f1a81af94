import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { kitToJson, kitToText, makeRecoveryKit, parseRecoveryKit } from '../../server/keys/index.ts';
import {
  applyLines,
  applyRecord,
  emptyKeyring,
  encodeKeyring,
  type KeyringRecord,
} from '../../server/keys/keyring/model.ts';
import { contentOf, makeKey } from './keyring-place.ts';

const line = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
  .filter((text) => !/[\p{Cc}\u2028\u2029]/u.test(text));
const target = fc.record({ name: line, kind: fc.constantFrom('directory', 's3', 'sftp'), location: line });

describe('properties', () => {
  it('a kit with any names comes back the same from both of its forms', () => {
    fc.assert(
      fc.property(line, fc.array(target, { maxLength: 3 }), (applianceName, targets) => {
        const kit = makeRecoveryKit({
          kitId: '11111111-2222-4333-8444-555555555555',
          applianceName,
          createdAt: '2026-01-02T03:04:05.000Z',
          repositoryId: '22222222-2222-4333-8444-555555555555',
          trustRoot: Buffer.alloc(32, 7).toString('base64'),
          ageIdentity: `AGE-SECRET-KEY-1${'Q'.repeat(58)}`,
          targets,
        });

        expect(parseRecoveryKit(kitToJson(kit)).kit).toEqual(kit);
        expect(parseRecoveryKit(kitToText(kit)).kit).toEqual(kit);
      }),
    );
  });

  it('a keyring written and read is the same, its list of unpublished changes included', () => {
    const step = fc.constantFrom('put', 'version', 'disable', 'drop', 'publish');
    fc.assert(
      fc.property(fc.array(fc.tuple(step, fc.nat()), { maxLength: 40 }), (steps) => {
        const keyring = emptyKeyring();
        let epoch = 0;
        for (const [act, pick] of steps) {
          const keys = [...keyring.keys.values()];
          const record = recordFor(act, keys[pick % Math.max(1, keys.length)], () => (epoch += 1));
          if (record) applyRecord(keyring, record);
        }

        const read = emptyKeyring();
        applyLines(read, encodeKeyring(keyring).join(''));

        expect(contentOf(read)).toEqual(contentOf(keyring));
        expect(read.repository).toEqual(keyring.repository);
        expect([...read.byOwner]).toEqual([...keyring.byOwner]);
        if (keyring.repository)
          expect([...read.changedSinceBase].sort()).toEqual([...keyring.changedSinceBase].sort());
      }),
    );
  });
});

function recordFor(
  act: string,
  key: ReturnType<typeof makeKey> | undefined,
  nextEpoch: () => number,
): KeyringRecord | undefined {
  if (act === 'put') return { kind: 'key', key: makeKey() };
  if (act === 'publish') {
    const publication = {
      epoch: nextEpoch(),
      baseName: 'b',
      baseAt: '',
      stale: false,
      additions: 0,
      recipients: [],
    };
    const trustRoot = { publicKey: '', privateKey: '' };
    const repository = {
      repositoryId: 'r',
      trustRoot,
      kits: [],
      claim: null,
      lastHeadNumber: '0',
      publication,
    };
    return { kind: 'repository', repository };
  }
  if (!key) return undefined;
  if (act === 'drop') return { kind: 'drop', id: key.id };
  if (act === 'disable') return { kind: 'key', key: { ...key, state: 'disabled' } };
  const versions = [
    ...key.versions,
    { version: key.versions.length + 1, material: randomBytes(32), createdAt: '' },
  ];
  return { kind: 'key', key: { ...key, versions } };
}
