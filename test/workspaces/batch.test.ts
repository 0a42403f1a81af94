import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TestCaller, TestReply } from '../helpers/appliance.ts';
import type { BatchReply, CreateFoldersReply } from '../../server/workspaces/schema.ts';
import { bytes, download, noise, startTestWorkspace, type TestWorkspace } from './workspace.ts';

let space: TestWorkspace;
let stranger: TestCaller & { userId: string };
let viewer: TestCaller & { userId: string };
beforeAll(async () => {
  space = await startTestWorkspace();
  stranger = await space.appliance.addPerson('member');
  viewer = await space.appliance.addPerson('member');
  await space.admit(viewer.userId, 'viewer');
});
afterAll(() => space.appliance.close());

interface Given {
  name: string;
  content?: Buffer | string;
  folderId?: string;
  mtime?: string;
}

const MTIME = '1600000000250000000';

function batch(files: Given[], onConflict?: string): Buffer {
  const contents = files.map(({ content = '' }) => Buffer.from(content));
  const head = {
    ...(onConflict === undefined ? {} : { onConflict }),
    files: files.map(({ name, folderId = space.root, mtime = MTIME }, index) => ({
      folderId,
      name,
      sizeBytes: contents[index]?.length ?? 0,
      mtime,
    })),
  };
  return pack(JSON.stringify(head), ...contents);
}

function pack(head: string, ...contents: Buffer[]): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(Buffer.byteLength(head));
  return Buffer.concat([length, Buffer.from(head), ...contents]);
}

function send(body: Buffer, caller: TestCaller = space.owner, folderId = space.root) {
  return caller.call<BatchReply>('POST', `/folders/${folderId}/batch`, undefined, bytes(body));
}

async function outcomes(files: Given[], onConflict?: string): Promise<string[]> {
  const reply = await send(batch(files, onConflict));
  expect(reply.status).toBe(200);
  return reply.body.items.map(({ outcome, reason }) =>
    reason === undefined ? outcome : `${outcome}: ${reason}`,
  );
}

function makeFolders(paths: string[], caller: TestCaller = space.owner, folderId = space.root) {
  return caller.call<CreateFoldersReply>('POST', `/folders/${folderId}/paths`, { paths });
}

async function folderIds(paths: string[], top = space.root): Promise<string[]> {
  const { body } = await makeFolders(paths, space.owner, top);
  return body.items.map((item) => ('folderId' in item ? item.folderId : item.reason));
}

async function refused(act: () => Promise<TestReply>): Promise<string> {
  const before = await space.state();
  const reply = await act();
  expect(await space.state()).toEqual(before);
  const { error } = reply.body as { error: { code: string } };
  return `${reply.status} ${error.code}`;
}

describe('refusals, each of which changes nothing', () => {
  test('a stranger to the workspace learns nothing, and a viewer writes nothing', async () => {
    const body = batch([{ name: 'x', content: 'x' }]);

    expect(await refused(() => send(body, stranger))).toBe('404 not_found');
    expect(await refused(() => send(body, viewer))).toBe('403 forbidden');
    expect(await refused(() => makeFolders(['a/b'], stranger))).toBe('404 not_found');
    expect(await refused(() => makeFolders(['a/b'], viewer))).toBe('403 forbidden');
  });

  test.each<[string, () => Buffer]>([
    ['empty', () => Buffer.alloc(0)],
    ['shorter than its head', () => batch([{ name: 'x' }]).subarray(0, 20)],
    ['with a head that is no JSON', () => pack('files: none')],
    ['with a head that is no UTF-8', () => Buffer.concat([Buffer.from([0, 0, 0, 2, 0xc3, 0x28])])],
    ['with a head of another shape', () => pack('{"files":[{"name":"x"}]}')],
    ['without files', () => pack('{"files":[]}')],
    ['of more files than may be', () => batch(Array.from({ length: 501 }, (_, n) => ({ name: `${n}` })))],
    ['with a file of more than a mebibyte', () => batch([{ name: 'x', content: noise(1024 * 1024 + 1) }])],
    ['cut off within its contents', () => batch([{ name: 'x', content: 'abc' }]).subarray(0, -1)],
    ['with more than it announces', () => Buffer.concat([batch([{ name: 'x' }]), Buffer.from('!')])],
    ['with a head said to be huge', () => Buffer.from([0xff, 0xff, 0xff, 0xff, 0x7b])],
  ])('a batch %s', async (_, body) => {
    expect(await refused(() => send(body()))).toBe('400 invalid_input');
  });

  test('a batch of more than 16 MiB', async () => {
    expect(await refused(() => send(Buffer.alloc(16 * 1024 * 1024 + 1)))).toBe('413 too_large');
  });
});

describe('a batch', () => {
  test('stores small files in several folders, whole and durable, with one audit entry', async () => {
    const [one = '', two = ''] = await folderIds(['batch/one', 'batch/two/deep']);
    const big = noise(1024 * 1024);
    const auditBefore = await countAudit('workspaces.files.uploaded');

    const result = await outcomes([
      { name: 'same name', content: 'in one', folderId: one },
      { name: 'same name', content: 'in two', folderId: two },
      { name: 'line\nbreak "🎉"', content: '', folderId: two },
      { name: 'big', content: big, folderId: two },
    ]);

    expect(result).toEqual(['stored', 'stored', 'stored', 'stored']);
    expect(await countAudit('workspaces.files.uploaded')).toBe(auditBefore + 1);
    const { items } = await space.list(two);
    expect(items.map(({ name, sizeBytes }) => [name, sizeBytes])).toEqual([
      ['big', big.length],
      ['line\nbreak "🎉"', 0],
      ['same name', 6],
    ]);
    expect(items[0]?.modifiedAt).toBe('2020-09-13T12:26:40.250Z');
    const back = await download(space.owner, space.appliance.app, items[0]?.id ?? '');
    expect(back.body.equals(big)).toBe(true);
  });

  test('a file that cannot be taken does not keep the others out', async () => {
    await space.folder('in the way');

    const result = await outcomes([
      { name: 'fine 1' },
      { name: '..' },
      { name: 'a/b' },
      { name: 'ü'.repeat(200) },
      { name: 'in the way' },
      { name: 'lost', folderId: randomUUID() },
      { name: 'fine 2' },
    ]);

    expect(result).toEqual([
      'stored',
      'refused: it means this folder or the one above',
      'refused: it holds a slash',
      'refused: it is longer than 255 bytes',
      'refused: a folder of this name is there',
      'refused: its folder is not there',
      'stored',
    ]);
  });

  test('leaves what is there alone unless it is told to replace it or to keep both', async () => {
    const old = { name: 'asked.txt', content: 'old', mtime: '1500000000000000001' };
    await outcomes([old]);
    const changed = { ...old, content: 'changed' };

    expect(await outcomes([{ ...old, mtime: '1500000000000999999' }])).toEqual(['unchanged']);
    expect(await outcomes([changed])).toEqual(['conflict']);
    expect(await outcomes([changed], 'rename')).toEqual(['stored']);
    expect(await contentOf('asked.txt')).toBe('old');
    expect(await contentOf('asked (2).txt')).toBe('changed');
    expect(await outcomes([changed], 'replace')).toEqual(['replaced']);
    expect(await contentOf('asked.txt')).toBe('changed');
  });

  test('stores one of two files of one name', async () => {
    const twice = [
      { name: 'twice', content: 'a' },
      { name: 'twice', content: 'b' },
    ];

    expect(await outcomes(twice)).toEqual(['stored', 'conflict']);
  });

  test('two at once come to one file each, and the store holds nothing else', async () => {
    const files = Array.from({ length: 20 }, (_, n) => ({ name: `raced ${n}`, content: `${n}` }));
    const before = (await space.stored()).length;

    const results = await Promise.all([outcomes(files), outcomes([...files].reverse())]);

    const stored = results.flat().filter((outcome) => outcome === 'stored');
    expect(stored).toHaveLength(20);
    expect((await space.stored()).length).toBe(before + 20);
  });
});

describe('folders of a tree', () => {
  test('are made once, however often and in whatever order they are asked for', async () => {
    const first = await folderIds(['t/a/b', 't', 't/c']);
    const again = await folderIds(['t/c', 't', 't/a/b', 't/a']);

    expect(new Set(first).size).toBe(3);
    expect(again.slice(0, 3)).toEqual([first[2], first[1], first[0]]);
    expect((await space.list(first[1])).items.map(({ name }) => name)).toEqual(['a', 'c']);
  });

  test('two at once come to the same folders', async () => {
    const paths = ['race/a/1', 'race/a/2', 'race/b'];

    const [one, other] = await Promise.all([folderIds(paths), folderIds([...paths].reverse())]);

    expect(one).toEqual(other.reverse());
  });

  test('that cannot be are answered for, with all that is below them', async () => {
    await space.upload('a file', 'x');

    const answer = await folderIds(['a file/below', '/x', 'ok', 'p/../q', `${'d/'.repeat(300)}x`]);

    expect(answer[0]).toBe('a file of this name is there');
    expect(answer[1]).toBe('it is empty');
    expect(answer[2]).toMatch(/^[0-9a-f-]{36}$/);
    expect(answer[3]).toBe('it means this folder or the one above');
    expect(answer[4]).toBe('folders go 256 deep at most');
  });
});

async function countAudit(action: string): Promise<number> {
  const { body } = await space.owner.call<{ items: unknown[] }>('GET', `/audit?action=${action}&limit=200`);
  return body.items.length;
}

async function contentOf(name: string): Promise<string> {
  const { items } = await space.list(space.root, '?limit=500');
  const id = items.find((node) => node.name === name)?.id ?? '';
  return (await download(space.owner, space.appliance.app, id)).body.toString();
}
