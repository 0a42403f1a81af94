import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  ftruncateSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FileEntry, SourceSection } from '../../server/backups/engine.ts';
import { scanDirectory } from '../../server/backups/pipeline/scan-directory.ts';
import { runProcess } from '../../server/lib/spawn.ts';
import {
  createEnginePlace,
  describeTree,
  mostTimeDifference,
  writeBytesNamed,
  type EnginePlace,
} from './engine-place.ts';
import { isRoot, NOBODY, othersMayPass } from '../helpers/other-account.ts';

let place: EnginePlace;
beforeEach(async () => {
  place = await createEnginePlace({ fileChunkBytes: 64 * 1024, packBytes: 1024 * 1024 });
});
afterEach(() => place.dispose());

const inTree = (...parts: string[]): string => join(place.tree, ...parts);

async function entriesOf(section: SourceSection): Promise<FileEntry[]> {
  const entries: FileEntry[] = [];
  for await (const entry of (await place.reader()).listEntries(section)) entries.push(entry);
  return entries;
}

function expectSame(restored: string, tree: string): void {
  const [found, expected] = [describeTree(restored), describeTree(tree)];
  expect(found.lines).toEqual(expected.lines);
  expect(mostTimeDifference(expected, found)).toBeLessThan(500);
}

async function restore(section: SourceSection, options = {}, to = join(place.top, 'restored')) {
  return (await place.reader()).restoreSection(section, to, options);
}

/** Names that trees in the wild have, and those they should not. */
function makeHostileTree(): void {
  const names = [
    'plain',
    'with space',
    'new\nline',
    'tab\t"quote"\\',
    '-rf',
    '.hidden',
    'ünïcödé-日本',
    'a'.repeat(255),
  ];
  for (const name of names) writeFileSync(inTree(name), `content of ${name}`);
  writeBytesNamed(place.tree, Buffer.from([0x66, 0xff, 0xfe, 0x80]), 'not UTF-8');
  mkdirSync(inTree('a'));
  mkdirSync(inTree('a.b'));
  mkdirSync(inTree('a', 'deep', 'deeper'), { recursive: true });
  writeFileSync(inTree('a', 'x'), 'sorts after a.b/x');
  writeFileSync(inTree('a.b', 'x'), 'sorts before a/x');
  writeFileSync(inTree('a-b'), 'sorts before both');
  writeFileSync(inTree('a', 'deep', 'deeper', 'large'), randomBytes(300_000));
  writeFileSync(inTree('empty'), '');
  mkdirSync(inTree('no-entries'), { mode: 0o500 });
  symlinkSync('.', inTree('a', 'loop'));
  symlinkSync('/nowhere/at/all', inTree('dangling'));
  writeFileSync(inTree('linked'), randomBytes(100_000));
  linkSync(inTree('linked'), inTree('a', 'also-linked'));
  linkSync(inTree('linked'), inTree('zz-linked'));
  chmodSync(inTree('plain'), 0o4755);
  utimesSync(inTree('plain'), 1_700_000_000.123456, 1_700_000_000.123456);
  utimesSync(inTree('empty'), new Date(-86_400_000), new Date(-86_400_000));
  lutimesSync(inTree('dangling'), 1_600_000_000, 1_600_000_000);
  utimesSync(inTree('a'), 1_500_000_000, 1_500_000_000);
}

describe('refusals', () => {
  test('a root that is not there or is no folder is refused', async () => {
    writeFileSync(inTree('file'), '');

    const scan = (root: string) => [...scanDirectory({ root, exclude: [] })];
    expect(() => scan(inTree('absent'))).toThrow(/is not there/);
    expect(() => scan(inTree('file'))).toThrow(/is not a folder/);
  });

  test('a restore into a folder that is not empty changes nothing', async () => {
    writeFileSync(inTree('one'), 'one');
    const { section } = await place.backUp();
    const to = join(place.top, 'restored');
    mkdirSync(to);
    writeFileSync(join(to, 'mine'), 'mine');

    await expect(restore(section)).rejects.toMatchObject({ code: 'conflict' });

    expect(readdirSync(to)).toEqual(['mine']);
  });

  test('paths that lead outside are not restored', async () => {
    const { section } = await place.backUp();
    const evil = await craftSection(section, ['../escape', '/absolute', 'a/../../b', 'x//y', 'nul\0byte']);

    const report = await restore(evil);

    expect(report.problemCount).toBe(5);
    expect(report.files).toBe(0);
    expect(readdirSync(place.top).sort()).toEqual(['restored', 'target', 'tree']);
  });

  test('nothing is written through a symbolic link', async () => {
    const outside = join(place.top, 'outside');
    mkdirSync(outside);
    writeFileSync(inTree('keep'), '');
    const { section } = await place.backUp();
    const to = join(place.top, 'restored');
    mkdirSync(to);
    symlinkSync(outside, join(to, 'd'));
    const evil = await craftSection(section, ['d/file']);

    const report = await restore(evil, { existing: 'replace' }, to);

    expect(report.problems[0]?.path).toContain('d');
    expect(readdirSync(outside)).toEqual([]);
  });

  test('without the key nothing is restored', async () => {
    writeFileSync(inTree('secret'), 'secret');
    const { section } = await place.backUp();
    const { openChunkReader } = await import('../../server/backups/pipeline/index.ts');
    const reader = await openChunkReader({
      target: place.target,
      generations: [{ ...place.generation, identity: undefined }],
      catalogue: place.catalogue,
    });

    const to = join(place.top, 'restored');
    await expect(reader.restoreSection(section, to)).rejects.toMatchObject({ code: 'wrong_key' });

    expect(readdirSync(to)).toEqual([]);
    await reader.close();
  });

  test('a full target ends the run, and what was there stays', async () => {
    writeFileSync(inTree('big'), randomBytes(200_000));
    rmSync(place.target.path, { recursive: true });

    await expect(place.backUp()).rejects.toMatchObject({ code: 'unavailable' });

    expect(place.catalogue.count()).toBe(0);
  });
});

/** A section of this repository with files of any path: as a broken or hostile writer would make it. */
async function craftSection(like: SourceSection, paths: string[]): Promise<SourceSection> {
  const { openChunkWriter } = await import('../../server/backups/pipeline/index.ts');
  const writer = openChunkWriter({
    target: place.target,
    generation: place.generation,
    catalogue: place.catalogue,
    onPacks: async (packs) => place.catalogue.add(packs),
  });
  const source = writer.openSource('crafted', 'directory', {});
  for (const path of paths)
    await source.addFile({ path, type: 'file', mode: 0o644 }, [Buffer.from('evil')], { chunkBytes: 4096 });
  const section = await source.finish();
  await writer.finish();
  return { ...like, ...section };
}

describe('a hostile tree', () => {
  test('comes back as it was: names, content, times, modes, links', async () => {
    makeHostileTree();
    const { section } = await place.backUp();

    const report = await restore(section);

    expect(report.problems).toEqual([]);
    expect(section.problems).toEqual([]);
    expectSame(join(place.top, 'restored'), place.tree);
    expect(report.hardLinks).toBe(2);
    const links = ['linked', 'zz-linked', 'a/also-linked'].map(
      (name) => statSync(join(place.top, 'restored', name)).ino,
    );
    expect(new Set(links).size).toBe(1);
  });

  test('its list is sorted by the bytes of the whole path', async () => {
    makeHostileTree();
    const { section } = await place.backUp();

    const paths = (await entriesOf(section)).map(({ path, pathB64 }) =>
      pathB64 === undefined ? Buffer.from(path ?? '') : Buffer.from(pathB64, 'base64'),
    );

    expect(paths.map((path) => path.toString('hex'))).toEqual(
      [...paths].sort(Buffer.compare).map((path) => path.toString('hex')),
    );
    const order = paths.map(String).filter((path) => /^a(-b|\.b\/x|\/x)$/.test(path));
    expect(order).toEqual(['a-b', 'a.b/x', 'a/x']);
  });

  test('the other name of a hard link can be restored alone', async () => {
    makeHostileTree();
    const { section } = await place.backUp();

    const report = await restore(section, { paths: ['zz-linked', 'a/deep/deeper'] });

    expect(report.problems).toEqual([]);
    expect(
      readFileSync(join(place.top, 'restored', 'zz-linked')).equals(readFileSync(inTree('linked'))),
    ).toBe(true);
    expect(
      readFileSync(join(place.top, 'restored/a/deep/deeper/large')).equals(
        readFileSync(inTree('a/deep/deeper/large')),
      ),
    ).toBe(true);
    expect(readdirSync(join(place.top, 'restored')).sort()).toEqual(['a', 'zz-linked']);
  });

  test('a single file is read as a stream, and its list by prefix', async () => {
    makeHostileTree();
    const { section } = await place.backUp();
    const reader = await place.reader();

    const entry = await reader.findEntry(section, 'a/deep/deeper/large');
    const pieces: Buffer[] = [];
    if (entry !== undefined) for await (const piece of reader.readFile(entry)) pieces.push(piece);

    expect(Buffer.concat(pieces).equals(readFileSync(inTree('a/deep/deeper/large')))).toBe(true);
    const below: (string | undefined)[] = [];
    for await (const { path } of reader.listEntries(section, { under: 'a' })) below.push(path);
    expect(below).toEqual([
      'a',
      'a/also-linked',
      'a/deep',
      'a/deep/deeper',
      'a/deep/deeper/large',
      'a/loop',
      'a/x',
    ]);
    expect(await reader.findEntry(section, 'a/absent')).toBeUndefined();
  });

  test('sockets and fifos are listed, and reported when they cannot be restored', async () => {
    const server = createServer().listen(inTree('socket'));
    await once(server, 'listening');
    await runProcess('mkfifo', [inTree('fifo')], { timeoutMs: 5000 });

    const { section } = await place.backUp();
    const report = await restore(section);
    server.close();

    expect((await entriesOf(section)).map(({ type }) => type)).toEqual(['directory', 'fifo', 'socket']);
    expect(report.specialsNotRestored).toBe(2);
    expect(report.problems.map(({ path }) => path)).toEqual(['fifo', 'socket']);
  });

  test('holes stay holes', async () => {
    const descriptor = openSync(inTree('sparse'), 'w');
    writeSync(descriptor, randomBytes(5000), 0, 5000, 3_000_000);
    ftruncateSync(descriptor, 20_000_000);
    closeSync(descriptor);

    const { section, totals } = await place.backUp();
    await restore(section);

    const restored = join(place.top, 'restored', 'sparse');
    expect(readFileSync(restored).equals(readFileSync(inTree('sparse')))).toBe(true);
    expect(statSync(restored).blocks).toBeLessThan(1000);
    expect(totals.bytesStored).toBeLessThan(50_000);
  });

  test('a file of more than a thousand chunks has lists of chunks, and comes back', async () => {
    const content = randomBytes(64 * 1024 * 40);
    writeFileSync(inTree('many'), content);
    for (let at = 0; at < 30; at++) appendFileSync(inTree('many'), content);

    const { section } = await place.backUp();
    const report = await restore(section);

    const entry = (await entriesOf(section)).find(({ path }) => path === 'many');
    expect(entry?.chunks).toBeUndefined();
    expect(entry?.chunkLists).toHaveLength(1);
    expect(report.problems).toEqual([]);
    const hash = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
    expect(hash(join(place.top, 'restored', 'many'))).toBe(hash(inTree('many')));
  });
});

describe('what changes meanwhile', () => {
  test('the repository’s own folder and excluded ones are left out and counted', async () => {
    mkdirSync(inTree('skip'));
    writeFileSync(inTree('skip', 'file'), '');
    writeFileSync(inTree('keep'), '');
    mkdirSync(inTree('target', 'keys'), { recursive: true });
    Object.assign(place.target, { path: inTree('target') });

    const { section } = await place.backUp({ exclude: [inTree('skip')] });

    expect((await entriesOf(section)).map(({ path }) => path)).toEqual(['', 'keep']);
    expect(section.facts.excluded).toBe(2);
  });

  test('a file that vanishes between scan and reading is reported', async () => {
    const scanned = [...scanDirectory({ root: place.tree, exclude: [] })];
    expect(scanned).toHaveLength(1);
    for (let at = 0; at < 300; at++) writeFileSync(inTree(`file-${String(at).padStart(3, '0')}`), 'content');
    const scan = scanDirectory({ root: place.tree, exclude: [] })[Symbol.iterator]();
    scan.next();
    scan.next();
    unlinkSync(inTree('file-200'));

    const rest: unknown[] = [];
    for (let next = scan.next(); next.done !== true; next = scan.next()) rest.push(next.value);

    expect(rest).toContainEqual({ path: 'file-200', problem: 'vanished while the folder was read' });
  });

  test('files that grow, shrink or vanish while they are read are reported, and the others are whole', async () => {
    for (let at = 0; at < 40; at++)
      writeFileSync(inTree(`f${String(at).padStart(2, '0')}`), randomBytes(200_000));
    // The fourth of them is touched again and again while the run goes on.
    const before = readFileSync(inTree('f05'));
    const timer = setInterval(() => {
      appendFileSync(inTree('f30'), randomBytes(1000));
      truncateSync(inTree('f31'), 1000 + (Math.floor(performance.now()) % 100));
    }, 1);

    const { section } = await place.backUp();
    clearInterval(timer);
    const report = await restore(section);

    expect(section.problems.every(({ path }) => ['f30', 'f31'].includes(path))).toBe(true);
    expect(report.problems).toEqual([]);
    expect(readFileSync(join(place.top, 'restored', 'f05')).equals(before)).toBe(true);
  });

  test.runIf(!isRoot || othersMayPass)(
    'what may not be read is reported and the rest is stored',
    async () => {
      mkdirSync(inTree('closed'));
      writeFileSync(inTree('closed', 'inside'), 'x');
      writeFileSync(inTree('secret'), 'x');
      writeFileSync(inTree('open'), 'open');
      chmodSync(inTree('closed'), 0o000);
      chmodSync(inTree('secret'), 0o000);

      const { section } = await asOrdinaryUser(() => place.backUp());
      chmodSync(inTree('closed'), 0o700);

      expect(section.problems).toEqual([
        { path: 'closed', reason: 'may not be read' },
        { path: 'secret', reason: 'may not be read' },
      ]);
      expect((await entriesOf(section)).map(({ path }) => path)).toEqual(['', 'closed', 'open']);
    },
  );
});

/** Root reads everything; for the time of the act it is nobody. */
async function asOrdinaryUser<T>(act: () => Promise<T>): Promise<T> {
  if (!isRoot) return act();
  for (const path of [place.top, place.target.path, join(place.target.path, 'keys')])
    chownSync(path, NOBODY, NOBODY);
  process.setegid?.(NOBODY);
  process.seteuid?.(NOBODY);
  try {
    return await act();
  } finally {
    process.seteuid?.(0);
    process.setegid?.(0);
  }
}

describe('a second snapshot', () => {
  test('reads nothing and stores nothing when nothing changed', async () => {
    makeHostileTree();
    const first = await place.backUp();
    const second = await place.backUp({ parent: first.section });

    expect(second.totals).toMatchObject({ packs: 0, chunks: 0, bytesAdded: 0, bytesStored: 0 });
    expect(second.section.segments).toEqual(first.section.segments);
    expect(second.section.facts.unchangedFiles).toBeGreaterThan(10);
  });

  test('does not read what did not change, and reads again what is not surely the same', async () => {
    for (let at = 0; at < 20; at++) writeFileSync(inTree(`f${at}`), randomBytes(1000));
    const first = await place.backUp();
    const same = statSync(inTree('f3'));
    writeFileSync(inTree('f3'), randomBytes(1000));
    utimesSync(inTree('f3'), same.atime, same.mtime);
    writeFileSync(inTree('f4'), randomBytes(1001));
    copyFileSync(inTree('f5'), inTree('f5.new'));
    renameSync(inTree('f5.new'), inTree('f5'));
    unlinkSync(inTree('f6'));

    const second = await place.backUp({ parent: first.section });
    await restore(second.section);

    expect(second.section.facts.unchangedFiles).toBe(16);
    expect(second.totals.bytesAdded).toBeLessThan(20_000);
    expectSame(join(place.top, 'restored'), place.tree);
  });

  test('a file touched within two seconds of the scan is read again', async () => {
    writeFileSync(inTree('fresh'), 'fresh');
    place.clock.advance(-86_400_000);
    const first = await place.backUp();
    const second = await place.backUp({ parent: first.section });

    expect(second.section.facts.unchangedFiles).toBe(0);
  });

  test('a chunk that the repository lost is stored again', async () => {
    writeFileSync(inTree('file'), randomBytes(1000));
    const first = await place.backUp();
    const entry = (await entriesOf(first.section)).find(({ path }) => path === 'file');
    place.catalogue.drop(entry?.chunks?.[0] ?? '');

    const second = await place.backUp({ parent: first.section });

    expect(second.totals.chunks).toBe(1);
    expect((await restore(second.section)).problems).toEqual([]);
  });

  test('the same content under two names is stored once', async () => {
    const content = randomBytes(500_000);
    writeFileSync(inTree('one'), content);
    writeFileSync(inTree('two'), content);

    const { totals } = await place.backUp();

    expect(totals.bytesStored).toBeLessThan(600_000);
  });
});
