/**
 * Known answers: the leaves, roots and proofs that Google's certificate-transparency reference published for RFC 6962
 * (transparency-dev/merkle, testonly/constants.go and testonly/reference_test.go).
 */
import { randomBytes, randomInt } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createGrowingTree } from '../../server/lib/merkle/growing-tree.ts';
import { EMPTY_ROOT, hashLeaf, hashPerfect } from '../../server/lib/merkle/hashing.ts';
import {
  consistencyRanges,
  inclusionRanges,
  perfectNodesOf,
  type LeafRange,
} from '../../server/lib/merkle/tree-shape.ts';
import { foldNodes } from '../../server/lib/merkle/growing-tree.ts';
import { verifyConsistency, verifyInclusion } from '../../server/lib/merkle/verify-proof.ts';
import { slowPath, slowProof, slowRoot } from './slow-tree.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const LEAVES = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
];
const ROOTS = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];
const INCLUSION: { position: number; size: number; path: string[] }[] = [
  { position: 0, size: 1, path: [] },
  { position: 0, size: 2, path: ['96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7'] },
  { position: 1, size: 2, path: ['6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d'] },
  { position: 2, size: 3, path: ['fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125'] },
  {
    position: 1,
    size: 5,
    path: [
      '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
    ],
  },
  {
    position: 0,
    size: 8,
    path: [
      '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
    ],
  },
  {
    position: 5,
    size: 8,
    path: [
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ],
  },
];
const CONSISTENCY: { older: number; size: number; proof: string[] }[] = [
  { older: 1, size: 1, proof: [] },
  {
    older: 1,
    size: 8,
    proof: [
      '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
    ],
  },
  {
    older: 2,
    size: 5,
    proof: [
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
    ],
  },
  {
    older: 6,
    size: 8,
    proof: [
      '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ],
  },
];

const leafHashes = LEAVES.map((leaf) => hashLeaf(Buffer.from(leaf, 'hex')));

/** The root of each range, from all leaf hashes at hand. */
function rootsOf(hashes: readonly Buffer[], ranges: readonly LeafRange[]): Buffer[] {
  return ranges.map((range) =>
    foldNodes(
      perfectNodesOf(range).map(({ level, index }) =>
        hashPerfect(hashes.slice(index * 2 ** level, (index + 1) * 2 ** level)),
      ),
    ),
  );
}

function rootOf(hashes: readonly Buffer[]): Buffer {
  return rootsOf(hashes, [{ from: 0, to: hashes.length }])[0] ?? EMPTY_ROOT;
}

describe('the published vectors', () => {
  test('every root of 0 to 8 leaves', () => {
    const tree = createGrowingTree();
    const grown = [hex(tree.root())];
    for (const hash of leafHashes) {
      tree.append(hash);
      grown.push(hex(tree.root()));
    }

    expect(grown).toEqual(ROOTS);
    expect(ROOTS.map((_, size) => hex(rootOf(leafHashes.slice(0, size))))).toEqual(ROOTS);
  });

  for (const { position, size, path } of INCLUSION) {
    test(`the path of leaf ${position} in a tree of ${size}`, () => {
      const made = rootsOf(leafHashes, inclusionRanges(position, size));
      const root = Buffer.from(ROOTS[size] ?? '', 'hex');

      expect(made.map(hex)).toEqual(path);
      expect(
        verifyInclusion({ leafHash: leafHashes[position] ?? root, position, size, path: made, root }),
      ).toBe(true);
    });
  }

  for (const { older, size, proof } of CONSISTENCY) {
    test(`the consistency of ${older} with ${size}`, () => {
      const made = rootsOf(leafHashes, consistencyRanges(older, size));
      const heads = [older, size].map((at) => ({ size: at, root: Buffer.from(ROOTS[at] ?? '', 'hex') }));

      expect(made.map(hex)).toEqual(proof);
      expect(verifyConsistency(heads[0] ?? never(), heads[1] ?? never(), made)).toBe(true);
    });
  }
});

describe('beside the slow implementation', () => {
  const data = Array.from({ length: 40 }, () => randomBytes(randomInt(40)));
  const hashes = data.map((entry) => hashLeaf(entry));

  test('every root, path and consistency proof of every tree of up to 40 random leaves is the same, and verifies', () => {
    for (let size = 0; size <= data.length; size += 1) {
      const tree = data.slice(0, size);
      const root = rootOf(hashes.slice(0, size));
      expect(root).toEqual(slowRoot(tree));
      for (let position = 0; position < size; position += 1) {
        const path = rootsOf(hashes, inclusionRanges(position, size));
        expect(path).toEqual(slowPath(position, tree));
        expect(verifyInclusion({ leafHash: hashes[position] ?? root, position, size, path, root })).toBe(
          true,
        );
      }
      for (let older = 0; older <= size; older += 1) {
        const proof = rootsOf(hashes, consistencyRanges(older, size));
        expect(proof).toEqual(slowProof(older, tree));
        const before = { size: older, root: slowRoot(tree.slice(0, older)) };
        expect(verifyConsistency(before, { size, root }, proof)).toBe(true);
      }
    }
  });

  test('a tree goes on from its frontier as if it had seen every leaf', () => {
    for (const start of [0, 1, 2, 3, 31, 32, 33, 39]) {
      const whole = createGrowingTree();
      for (const hash of hashes.slice(0, start)) whole.append(hash);

      const continued = createGrowingTree({ size: start, frontier: whole.frontier() });
      for (const hash of hashes.slice(start)) continued.append(hash);

      expect(continued.size).toBe(data.length);
      expect(continued.root()).toEqual(slowRoot(data));
    }
  });

  test('a frontier of another size is refused', () => {
    expect(() => createGrowingTree({ size: 3, frontier: [EMPTY_ROOT] })).toThrow(RangeError);
  });
});

describe('a proof that is not one', () => {
  const data = Array.from({ length: 21 }, () => randomBytes(8));
  const hashes = data.map((entry) => hashLeaf(entry));
  const root = slowRoot(data);
  const good = { leafHash: hashes[13] ?? root, position: 13, size: 21, path: slowPath(13, data), root };
  const older = { size: 13, root: slowRoot(data.slice(0, 13)) };
  const proof = slowProof(13, data);

  test('of inclusion fails with any part changed, cut, doubled or moved', () => {
    expect(verifyInclusion(good)).toBe(true);
    const wrong = [
      { ...good, leafHash: hashes[12] ?? root },
      { ...good, root: older.root },
      { ...good, position: 12 },
      { ...good, position: 21 },
      { ...good, position: -1 },
      { ...good, position: 1.5 },
      { ...good, size: 13 },
      { ...good, size: 40 },
      { ...good, path: good.path.slice(1) },
      { ...good, path: good.path.slice(0, -1) },
      { ...good, path: [...good.path, root] },
      { ...good, path: good.path.toReversed() },
      ...good.path.map((_, at) => ({ ...good, path: good.path.with(at, randomBytes(32)) })),
    ];

    expect(wrong.map(verifyInclusion).filter(Boolean)).toEqual([]);
  });

  test('of consistency fails with any part changed, cut, doubled or moved', () => {
    const newer = { size: 21, root };
    expect(verifyConsistency(older, newer, proof)).toBe(true);
    const wrong = [
      verifyConsistency({ ...older, size: 12 }, newer, proof),
      verifyConsistency({ ...older, root }, newer, proof),
      verifyConsistency(older, { ...newer, size: 40 }, proof),
      verifyConsistency(older, { ...newer, root: older.root }, proof),
      verifyConsistency(newer, older, proof),
      verifyConsistency(older, newer, []),
      verifyConsistency(older, newer, proof.slice(1)),
      verifyConsistency(older, newer, [...proof, root]),
      verifyConsistency(older, older, [root]),
      verifyConsistency({ size: 0, root }, newer, []),
      verifyConsistency({ size: 21, root: older.root }, newer, []),
      ...proof.map((_, at) => verifyConsistency(older, newer, proof.with(at, randomBytes(32)))),
    ];

    expect(wrong.filter(Boolean)).toEqual([]);
  });

  test('sizes beyond 32 bits are counted right', () => {
    const size = 2 ** 40 + 3;

    const ranges = inclusionRanges(2 ** 40 + 1, size);

    expect(ranges).toEqual([
      { from: 2 ** 40, to: 2 ** 40 + 1 },
      { from: 2 ** 40 + 2, to: size },
      { from: 0, to: 2 ** 40 },
    ]);
    const [left, right, below] = [randomBytes(32), randomBytes(32), randomBytes(32)];
    const leafHash = randomBytes(32);
    const path = [left, right, below];
    const root = foldNodes([below, foldNodes([foldNodes([left, leafHash]), right])]);
    expect(verifyInclusion({ leafHash, position: 2 ** 40 + 1, size, path, root })).toBe(true);
    expect(verifyInclusion({ leafHash, position: 1, size, path, root })).toBe(false);
  });
});

function never(): never {
  throw new Error('no such head');
}
