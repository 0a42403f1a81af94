/**
 * Every object codec: golden bytes made with fixed keys, every truncation, every flipped byte, and what a newer or faulty
 * writer might send. `UPDATE_GOLDEN=1` writes the golden files anew.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { decodeHead, encodeHead } from '../../server/backups/objects/head-object.ts';
import { decodeIndex, encodeIndex, groupForIndex } from '../../server/backups/objects/index-object.ts';
import { encodeObject } from '../../server/backups/objects/object-lines.ts';
import {
  numberedName,
  packName,
  parseKeyringName,
  parseNumberedName,
  parsePackName,
  parseWriterName,
} from '../../server/backups/objects/object-names.ts';
import { decodeReport, encodeReport } from '../../server/backups/objects/report-object.ts';
import { decodeSnapshot, encodeSnapshot } from '../../server/backups/objects/snapshot-object.ts';
import { decodeWriter, encodeWriter } from '../../server/backups/objects/writer-object.ts';
import { signingKeyId, signStatement } from '../../server/keys/index.ts';
import { createPrivateKey, createPublicKey } from 'node:crypto';

vi.setConfig({ testTimeout: 60_000 });

const GOLDEN = join(import.meta.dirname, '../golden/repository');
const REPOSITORY = '00000000-0000-4000-8000-000000000001';
const hex = (text: string): string => createHash('sha256').update(text).digest('hex');

/** The signing key whose seed is 32 times the byte 7. */
const seed = Buffer.alloc(32, 7);
const spki = createPublicKey(
  createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]),
    format: 'der',
    type: 'pkcs8',
  }),
).export({ type: 'spki', format: 'der' });
const publicKey = spki.subarray(spki.length - 32);
const key = { id: signingKeyId(publicKey), publicKey };
const signer = {
  sign: async (statement: Parameters<typeof signStatement>[1]) =>
    signStatement({ id: key.id, privateKey: seed }, statement),
};
const keys = [key];
const expected = (number: number) => ({ repositoryId: REPOSITORY, number });

const index = {
  number: 3,
  packs: [
    {
      id: hex('pack'),
      kind: 'data' as const,
      sizeBytes: 12_345,
      headerLength: 200,
      generation: 1,
      chunks: [
        { id: hex('chunk 1'), offset: 0, storedLength: 100, originalLength: 300 },
        { id: hex('chunk 2'), offset: 100, storedLength: 9, originalLength: 0 },
      ],
    },
  ],
  supersedes: [`index/2-${hex('old index')}.age`],
  removals: [{ name: packName(hex('dead pack')), since: '2026-01-02T03:04:05.678Z', head: 8 }],
};
const snapshot = {
  number: 4,
  takenAt: '2026-01-02T03:04:05.678Z',
  durationMs: 1234,
  generation: 1,
  keyringEpoch: '17',
  addedBytes: 300,
  storedBytes: 109,
  facts: { applianceVersion: '0.1.0' },
  sections: [
    {
      name: 'files',
      kind: 'directory' as const,
      facts: { root: '/srv' },
      segments: [{ first: '', chunk: hex('segment'), sha256: hex('segment bytes'), lines: 2, bytes: 150 }],
      fileCount: 1,
      directoryCount: 1,
      sizeBytes: 300,
      problems: [{ path: 'secret', reason: 'EACCES' }],
      problemCount: 1,
    },
  ],
};
const head = {
  number: 9,
  writer: 2,
  createdAt: '2026-01-02T03:04:06.000Z',
  generation: 1,
  previous: { number: 8, sha256: hex('head 8') },
  snapshots: [{ number: 4, sha256: hex('snapshot 4') }],
  indexes: [{ number: 3, sha256: hex('index 3') }],
  nextSnapshot: 5,
  nextIndex: 4,
  keyring: {
    epoch: '17',
    objects: [`keyring/17-${hex('base')}.age`, `keyring/17+1-${hex('addition')}.age`],
  },
  ledger: null,
  wal: null,
  longestRunMs: 1234,
};
const writer = {
  number: 2,
  holder: '00000000-0000-4000-8000-00000000000a',
  session: '0123456789abcdef0123456789abcdef',
  startedAt: '2026-01-02T03:00:00.000Z',
};
const report = {
  id: '00000000-0000-4000-8000-00000000000b',
  kind: 'restore-test',
  head: 9,
  createdAt: '2026-01-02T04:00:00.000Z',
  content: { result: 'passed' },
};

const codecs = [
  {
    kind: 'index',
    value: index as object,
    encode: () => encodeIndex(REPOSITORY, index, signer),
    decode: (bytes: Uint8Array) => decodeIndex(bytes, expected(3), keys),
    decodeAs: (bytes: Uint8Array) => decodeIndex(bytes, expected(4), keys),
  },
  {
    kind: 'snapshot',
    value: snapshot,
    encode: () => encodeSnapshot(REPOSITORY, snapshot, signer),
    decode: (bytes: Uint8Array) => decodeSnapshot(bytes, expected(4), keys),
    decodeAs: (bytes: Uint8Array) => decodeSnapshot(bytes, expected(5), keys),
  },
  {
    kind: 'head',
    value: head,
    encode: () => encodeHead(REPOSITORY, head, signer),
    decode: (bytes: Uint8Array) => decodeHead(bytes, expected(9), keys),
    decodeAs: (bytes: Uint8Array) => decodeHead(bytes, { ...expected(9), repositoryId: 'other' }, keys),
  },
  {
    kind: 'writer',
    value: writer,
    encode: () => encodeWriter(REPOSITORY, writer, signer),
    decode: (bytes: Uint8Array) => decodeWriter(bytes, expected(2), keys),
    decodeAs: (bytes: Uint8Array) => decodeWriter(bytes, expected(3), keys),
  },
  {
    kind: 'report',
    value: report,
    encode: () => encodeReport(REPOSITORY, report, signer),
    decode: (bytes: Uint8Array) => decodeReport(bytes, { repositoryId: REPOSITORY, id: report.id }, keys),
    decodeAs: (bytes: Uint8Array) => decodeReport(bytes, { repositoryId: REPOSITORY, id: 'other' }, keys),
  },
];

describe.each(codecs)('a $kind object', ({ kind, value, encode, decode, decodeAs }) => {
  test('cut short anywhere is refused', async () => {
    const bytes = await encode();

    for (let length = 0; length < bytes.length; length++) {
      expect(() => decode(bytes.subarray(0, length)), `${String(length)} bytes`).toThrow(
        expect.objectContaining({ code: 'integrity_failure' }),
      );
    }
  });

  test('with any byte flipped is refused', async () => {
    const bytes = await encode();

    for (let at = 0; at < bytes.length; at++) {
      const flipped = Buffer.from(bytes);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 7));
      expect(() => decode(flipped), `byte ${String(at)}`).toThrow(
        expect.objectContaining({ code: 'integrity_failure' }),
      );
    }
  });

  test('under another number, repository or id is refused', async () => {
    const bytes = await encode();

    expect(() => decodeAs(bytes)).toThrow(expect.objectContaining({ code: 'integrity_failure' }));
  });

  test('signed by an unknown key is refused', async () => {
    const bytes = (await encode()).toString('utf8').replace(key.id, '0'.repeat(16));

    expect(() => decode(Buffer.from(bytes))).toThrow(expect.objectContaining({ code: 'integrity_failure' }));
  });

  test('has these bytes, and reads as it was written', async () => {
    const bytes = await encode();
    const file = join(GOLDEN, `${kind}.jsonl`);
    if (process.env.UPDATE_GOLDEN === '1') {
      mkdirSync(GOLDEN, { recursive: true });
      writeFileSync(file, bytes);
    }

    expect(bytes.toString('utf8')).toBe(readFileSync(file, 'utf8'));
    expect(decode(bytes)).toEqual(value);
  });
});

const lost = {
  snapshot: [4, hex('snapshot')],
  sections: ['database', 'files'],
  at: '2026-01-02T03:04:05.678Z',
  because: 'no rule keeps it',
};

describe('any object', () => {
  const header = { type: 'head' as const, repositoryId: REPOSITORY, number: 9 };
  const headLine = async () => {
    const lines = (await encodeHead(REPOSITORY, head, signer)).toString('utf8').split('\n');
    return JSON.parse(lines[1] ?? '') as { head: Record<string, unknown> };
  };
  const signed = async (lines: string[]): Promise<Buffer> => {
    const body = Buffer.from(`${lines.join('\n')}\n`);
    const sha256 = createHash('sha256').update(body).digest('hex');
    const { signature, keyId } = await signer.sign({
      type: 'head',
      repositoryId: REPOSITORY,
      number: '9',
      sha256,
    });
    return Buffer.concat([body, Buffer.from(`{"signature":"${signature}","keyId":"${keyId}"}\n`)]);
  };
  const first = (changes: object) =>
    JSON.stringify({ type: 'head', version: 1, repository: REPOSITORY, number: 9, must: [], ...changes });

  test('that names a feature we do not know in `must` is not read, nor one of a newer version', async () => {
    const line = JSON.stringify(await headLine());

    for (const changes of [{ must: ['time-travel'] }, { version: 2 }, { must: 'x' }]) {
      const bytes = await signed([first(changes), line]);
      expect(() => decodeHead(bytes, expected(9), keys)).toThrow(
        expect.objectContaining({ code: 'invalid_input', hint: expect.stringContaining('newest') as string }),
      );
    }
  });

  test('with unknown keys and unknown lines is read all the same', async () => {
    const line = await headLine();
    const bytes = await signed([
      first({ colour: 'blue' }),
      '{"weather":"fine"}',
      JSON.stringify({ ...line, head: { ...line.head, mood: 1 } }),
    ]);

    expect(decodeHead(bytes, expected(9), keys)).toEqual(head);
  });

  test.each([
    ['a line that is not JSON', 'nonsense'],
    ['a line that is a list', '[]'],
    ['no content', undefined],
    ['a negative count', { writer: -1 }],
    ['a fraction', { nextIndex: 1.5 }],
    ['a count beyond 2^53', { nextSnapshot: 2 ** 53 }],
    ['a time that is none', { createdAt: 'yesterday' }],
    ['a reference with a short hash', { snapshots: [[1, 'abc']] }],
    ['a reference that is no pair', { indexes: [7] }],
    ['expired parts without a name', { expired: [{ ...lost, sections: [] }] }],
    ['expired parts of no snapshot', { expired: [{ ...lost, snapshot: [1] }] }],
    ['expired parts for a reason of several lines', { expired: [{ ...lost, because: 'a\nb' }] }],
    ['a keyring name that leaves its folder', { keyring: { epoch: '1', objects: ['../keys/x'] } }],
  ])('well signed but with %s is refused', async (_, change) => {
    const line = await headLine();
    const content =
      typeof change === 'string' ? change : JSON.stringify({ head: { ...line.head, ...change } });
    const bytes = await signed(change === undefined ? [first({})] : [first({}), content]);

    expect(() => decodeHead(bytes, expected(9), keys)).toThrow(
      expect.objectContaining({ code: 'integrity_failure' }),
    );
  });

  test('with parts that are kept no more says in `must` that a reader has to know of it', async () => {
    const written = { ...head, expired: [{ ...lost, snapshot: { number: 4, sha256: hex('snapshot') } }] };
    const bytes = await encodeHead(REPOSITORY, written, signer);

    expect(bytes.toString('utf8').split('\n')[0]).toBe(first({ must: ['expired'] }));
    expect(decodeHead(bytes, expected(9), keys)).toEqual(written);
  });

  test('of one type is not taken for another', async () => {
    const bytes = await encodeObject(header, [{ writer }], signer);

    expect(() => decodeWriter(bytes, expected(9), keys)).toThrow(
      expect.objectContaining({ code: 'integrity_failure' }),
    );
  });
});

describe('an index object', () => {
  const pack = (chunkCount: number) => ({
    id: hex(String(chunkCount)),
    kind: 'data' as const,
    sizeBytes: 1,
    headerLength: 1,
    generation: 1,
    chunks: Array.from({ length: chunkCount }, () => ({
      id: hex('c'),
      offset: 0,
      storedLength: 1,
      originalLength: 1,
    })),
  });

  test('lists at most 50,000 chunks', async () => {
    const tooMany = { number: 1, packs: [pack(50_001)], supersedes: [], removals: [] };

    await expect(encodeIndex(REPOSITORY, tooMany, signer)).rejects.toMatchObject({ code: 'internal' });
    expect(() => groupForIndex([pack(50_001)])).toThrow(expect.objectContaining({ code: 'internal' }));
    const groups = groupForIndex([pack(30_000), pack(20_000), pack(1), pack(50_000), pack(10)]);
    expect(groups.map((group) => group.map((one) => one.chunks.length))).toEqual([
      [30_000, 20_000],
      [1],
      [50_000],
      [10],
    ]);
  });

  test('with a chunk over 8 MiB is refused', async () => {
    const huge = { ...index, packs: [{ ...pack(1) }] };
    const [chunk] = huge.packs[0]?.chunks ?? [];
    if (chunk) chunk.originalLength = 8 * 1024 * 1024 + 1;
    const bytes = await encodeIndex(REPOSITORY, huge, signer);

    expect(() => decodeIndex(bytes, expected(3), keys)).toThrow(
      expect.objectContaining({ code: 'integrity_failure' }),
    );
  });
});

describe('object names', () => {
  const sha256 = hex('x');

  test('are built and taken apart', () => {
    for (const kind of ['keys', 'index', 'snapshots', 'heads'] as const) {
      const name = numberedName(kind, { number: 12, sha256 });
      expect(parseNumberedName(kind, name)).toEqual({ number: 12, sha256 });
    }
    expect(parsePackName(packName(sha256))).toBe(sha256);
    expect(parseWriterName('writers/3')).toBe(3);
    expect(parseKeyringName(`keyring/5+2-${sha256}.age`)).toEqual({ epoch: 5, addition: 2, sha256 });
    expect(parseKeyringName(`keyring/5-${sha256}.age`)).toEqual({ epoch: 5, addition: 0, sha256 });
  });

  test.each([
    `index/01-${sha256}.age`,
    `index/-1-${sha256}.age`,
    `index/9007199254740993-${sha256}.age`,
    `index/1-${sha256}`,
    `heads/1-${sha256}.age`,
    `index/1-${sha256.toUpperCase()}.age`,
    `index/1-${sha256.slice(1)}.age`,
    `index/x/1-${sha256}.age`,
    `packs/00/${sha256}.age`,
    'writers/0',
    'writers/-1',
    'keyring/x',
  ])('that we never write are not ours: %s', (name) => {
    const parsed = [
      parseNumberedName('index', name),
      parseNumberedName('heads', name),
      parsePackName(name),
      parseWriterName(name),
      parseKeyringName(name),
    ];
    expect(parsed.every((one) => one === undefined)).toBe(true);
  });
});
