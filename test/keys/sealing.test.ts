import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  blindIndex,
  deriveKey,
  type FieldContext,
  KEY_PURPOSES,
  type KeyPurpose,
  openField,
  SEALED_FIELD_OVERHEAD,
  sealedVersion,
  sealField,
} from '../../server/keys/index.ts';

interface Golden {
  material: string;
  derived: Record<KeyPurpose, string>;
  sealed: { purpose: KeyPurpose; version: number; context: FieldContext; value: string; sealed: string }[];
  blindIndex: { context: string; value: string; index: string }[];
}
const golden = JSON.parse(
  readFileSync(new URL('../golden/sealed-fields.json', import.meta.url), 'utf8'),
) as Golden;
const material = Buffer.from(golden.material, 'hex');
const context: FieldContext = {
  type: 'node-name',
  workspaceId: 'w',
  subjectId: '',
  objectId: 'o',
  version: '',
};
const key = { version: 2, key: deriveKey(material, 'names') };

describe('sealed fields', () => {
  it('a sealed value does not open with any one byte changed', () => {
    const sealed = sealField(key, context, 'secret');

    for (let index = 0; index < sealed.length; index++) {
      const changed = Buffer.from(sealed);
      changed.writeUInt8(changed.readUInt8(index) ^ 1, index);
      expect(() => openField([key], context, changed)).toThrow(
        expect.objectContaining({ code: 'integrity_failure' }),
      );
    }
  });

  it('a sealed value does not open when it is cut short anywhere', () => {
    const sealed = sealField(key, context, 'secret');

    for (let length = 0; length < sealed.length; length++) {
      expect(() => openField([key], context, sealed.subarray(0, length))).toThrow(
        expect.objectContaining({ code: 'integrity_failure' }),
      );
    }
  });

  it.each(['type', 'workspaceId', 'subjectId', 'objectId', 'version'] as const)(
    'a sealed value moved to another %s does not open',
    (part) => {
      const sealed = sealField(key, context, 'secret');

      expect(() => openField([key], { ...context, [part]: 'other' }, sealed)).toThrow(
        expect.objectContaining({ code: 'integrity_failure' }),
      );
    },
  );

  it('a sealed value does not open with a key of another purpose', () => {
    const sealed = sealField(key, context, 'secret');

    for (const purpose of KEY_PURPOSES.filter((candidate) => candidate !== 'names')) {
      const other = { version: 2, key: deriveKey(material, purpose) };
      expect(() => openField([other], context, sealed)).toThrow(
        expect.objectContaining({ code: 'integrity_failure' }),
      );
    }
  });

  it('a value that is too long is refused', () => {
    expect(() => sealField(key, context, Buffer.alloc(1024 * 1024 + 1))).toThrow(
      expect.objectContaining({ code: 'too_large' }),
    );
  });

  it('the same value sealed twice looks different and opens with the version it names', () => {
    const first = sealField(key, context, 'name');
    const second = sealField(key, context, 'name');

    expect(first.equals(second)).toBe(false);
    expect(first.length).toBe(4 + SEALED_FIELD_OVERHEAD);
    expect(sealedVersion(first)).toBe(2);
    const older = { version: 1, key: Buffer.alloc(32) };
    expect(openField([older, key], context, first).toString()).toBe('name');
  });

  it('vectors made by another implementation open', () => {
    for (const vector of golden.sealed) {
      const versioned = { version: vector.version, key: deriveKey(material, vector.purpose) };
      const opened = openField([versioned], vector.context, Buffer.from(vector.sealed, 'hex'));
      expect(opened.toString('hex')).toBe(vector.value);
    }
  });

  it('derived keys and blind indexes are those of another implementation', () => {
    for (const purpose of KEY_PURPOSES) {
      expect(deriveKey(material, purpose).toString('hex')).toBe(golden.derived[purpose]);
    }
    for (const vector of golden.blindIndex) {
      const index = blindIndex(deriveKey(material, 'blind-index'), vector.context, vector.value);
      expect(index.toString('hex')).toBe(vector.index);
    }
  });

  it('a blind index context and value cannot run into each other', () => {
    expect(() => blindIndex(material, 'a\0b', 'c')).toThrow();
    expect(blindIndex(material, 'a', 'bc').equals(blindIndex(material, 'ab', 'c'))).toBe(false);
  });
});
