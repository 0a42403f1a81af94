import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TestCaller } from '../helpers/appliance.ts';
import { bytes, download, noise, startTestWorkspace, uploadPath, type TestWorkspace } from './workspace.ts';

let space: TestWorkspace;
let member: TestCaller & { userId: string };
let viewer: TestCaller & { userId: string };

const UNKNOWN = '00000000-0000-4000-8000-00000000dead';

beforeAll(async () => {
  space = await startTestWorkspace();
  member = await space.appliance.addPerson('member');
  viewer = await space.appliance.addPerson('member');
  await space.admit(viewer.userId, 'viewer');
});
afterAll(() => space.appliance.close());

async function refused(act: () => Promise<{ status: number; body: unknown }>): Promise<string> {
  const before = await space.state();
  const reply = await act();
  expect(await space.state()).toEqual(before);
  const { error } = reply.body as { error: { code: string; message: string; requestId: string } };
  expect(error.message).not.toBe('');
  return `${reply.status} ${error.code}`;
}

describe('refusals, each of which changes nothing', () => {
  test('a foreign workspace answers as an unknown one does', async () => {
    const file = await space.upload('secret.txt', 'secret');
    const folder = await space.folder('secret folder');

    for (const [nodeId, folderId] of [
      [file.id, folder.id],
      [UNKNOWN, UNKNOWN],
    ]) {
      const replies = [
        await refused(() => member.call('GET', `/folders/${folderId}`)),
        await refused(() => member.call('GET', `/nodes/${nodeId}`)),
        await refused(() => member.call('GET', `/files/${nodeId}/content`)),
        await refused(() => member.call('GET', `/files/${nodeId}/preview`)),
        await refused(() => member.call('PATCH', `/nodes/${nodeId}`, { name: 'mine' })),
        await refused(() => member.call('DELETE', `/nodes/${nodeId}`)),
        await refused(() => member.call('POST', '/folders', { parentId: folderId, name: 'mine' })),
        await refused(() => member.call('PUT', uploadPath(folderId ?? '', 'mine'), undefined, bytes('x'))),
      ];

      expect(new Set(replies)).toEqual(new Set(['404 not_found']));
    }
    const { body } = await member.call('GET', '/workspaces');
    expect(body).toEqual({ items: [] });
  });

  test('nobody signed in sees nothing, and a request without our header changes nothing', async () => {
    const file = await space.upload('closed.txt', 'closed');

    expect(await refused(() => space.appliance.stranger.call('GET', `/files/${file.id}/content`))).toMatch(
      /^401/,
    );
    expect(
      await refused(() =>
        space.owner.call('DELETE', `/nodes/${file.id}`, undefined, { headers: { 'x-holdfast': '' } }),
      ),
    ).toMatch(/^403/);
  });

  test('a viewer reads and does not write', async () => {
    const file = await space.upload('read me.txt', 'read me');

    expect((await viewer.call('GET', `/nodes/${file.id}`)).status).toBe(200);
    expect(await refused(() => viewer.call('DELETE', `/nodes/${file.id}`))).toBe('403 forbidden');
    expect(await refused(() => viewer.call('PATCH', `/nodes/${file.id}`, { name: 'x' }))).toBe(
      '403 forbidden',
    );
    expect(await refused(() => viewer.call('POST', '/folders', { parentId: space.root, name: 'x' }))).toBe(
      '403 forbidden',
    );
    expect(await refused(() => viewer.call('PUT', uploadPath(space.root, 'x'), undefined, bytes('x')))).toBe(
      '403 forbidden',
    );
  });

  test.each([
    ['', 'empty'],
    ['.', 'a dot'],
    ['..', 'two dots'],
    ['a/b', 'a slash'],
    ['/etc/passwd', 'a path'],
    ['nul\0', 'NUL'],
    ['é'.repeat(128), '256 bytes'],
  ])('a name like %j is refused (%s)', async (name) => {
    const file = await space.upload(`target ${name.length} ${encodeURIComponent(name).slice(0, 20)}`, 'x');

    expect(await refused(() => space.owner.call('POST', '/folders', { parentId: space.root, name }))).toBe(
      '400 invalid_input',
    );
    expect(await refused(() => space.owner.call('PATCH', `/nodes/${file.id}`, { name }))).toBe(
      '400 invalid_input',
    );
    expect(
      await refused(() => space.owner.call('PUT', uploadPath(space.root, name), undefined, bytes('x'))),
    ).toBe('400 invalid_input');
  });

  test('a name that is not valid Unicode is refused', async () => {
    const payload = `{"parentId":"${space.root}","name":"half \\ud800"}`;

    const reply = refused(() =>
      space.owner.call('POST', '/folders', undefined, {
        payload,
        headers: { 'content-type': 'application/json' },
      }),
    );

    expect(await reply).toBe('400 invalid_input');
  });

  test('a name that is taken is refused, for files and folders alike', async () => {
    await space.upload('taken', 'first');
    const other = await space.folder('other');

    expect(
      await refused(() =>
        space.owner.call('PUT', uploadPath(space.root, 'taken'), undefined, bytes('second')),
      ),
    ).toBe('409 conflict');
    expect(
      await refused(() => space.owner.call('POST', '/folders', { parentId: space.root, name: 'taken' })),
    ).toBe('409 conflict');
    expect(await refused(() => space.owner.call('PATCH', `/nodes/${other.id}`, { name: 'taken' }))).toBe(
      '409 conflict',
    );
    expect(
      await refused(() =>
        space.owner.call(
          'PUT',
          uploadPath(space.root, 'other', '&onConflict=replace'),
          undefined,
          bytes('x'),
        ),
      ),
    ).toBe('409 conflict');
  });

  test('a folder does not move into itself, and the root not at all', async () => {
    const outer = await space.folder('outer');
    const inner = await space.folder('inner', outer.id);
    const file = await space.upload('no folder.txt', 'x');

    const move = (id: string, parentId: string) => space.owner.call('PATCH', `/nodes/${id}`, { parentId });
    expect(await refused(() => move(outer.id, inner.id))).toBe('400 invalid_input');
    expect(await refused(() => move(outer.id, outer.id))).toBe('400 invalid_input');
    expect(await refused(() => move(outer.id, file.id))).toBe('400 invalid_input');
    expect(await refused(() => move(space.root, outer.id))).toBe('409 wrong_state');
    expect(await refused(() => space.owner.call('DELETE', `/nodes/${space.root}`))).toBe('409 wrong_state');
    expect(await refused(() => space.owner.call('PATCH', `/nodes/${space.root}`, { name: 'x' }))).toBe(
      '409 wrong_state',
    );
  });

  test('an upload of another type than bytes, or shorter than it says, is refused', async () => {
    const path = uploadPath(space.root, 'wrong');

    expect(
      await refused(() =>
        space.owner.call('PUT', path, undefined, {
          payload: '{}',
          headers: { 'content-type': 'application/json' },
        }),
      ),
    ).toMatch(/^4/);
    expect(
      await refused(() =>
        space.owner.call('PUT', path, undefined, {
          payload: 'short',
          headers: { 'content-type': 'application/octet-stream', 'content-length': '50' },
        }),
      ),
    ).toMatch(/^(409 cancelled|400)/);
  });

  test('a cursor of another folder or order is refused', async () => {
    const folder = await space.folder('paged');
    for (const name of ['a', 'b', 'c']) await space.upload(name, name, { folderId: folder.id });
    const { nextCursor } = await space.list(folder.id, '?limit=1');

    expect(await refused(() => space.owner.call('GET', `/folders/${space.root}?cursor=${nextCursor}`))).toBe(
      '400 invalid_input',
    );
    expect(
      await refused(() => space.owner.call('GET', `/folders/${folder.id}?sort=size&cursor=${nextCursor}`)),
    ).toBe('400 invalid_input');
    expect(await refused(() => space.owner.call('GET', `/folders/${folder.id}?cursor=AAAA`))).toBe(
      '400 invalid_input',
    );
  });
});

describe('uploading and downloading', () => {
  test('what was uploaded comes back, with its time, mode and size', async () => {
    const content = noise(3_000_000);

    const node = await space.upload('three.bin', content, { query: '&mtime=1700000000123456789&mode=416' });

    const got = await download(space.owner, space.appliance.app, node.id);
    expect(got.body.equals(content)).toBe(true);
    expect(got.headers['content-length']).toBe('3000000');
    expect(node).toMatchObject({
      kind: 'file',
      sizeBytes: 3_000_000,
      modifiedAt: '2023-11-14T22:13:20.123Z',
    });
    const row = await space.appliance.deps.db
      .selectFrom('nodes')
      .select(['mode', 'mtime_ns'])
      .where('id', '=', node.id)
      .executeTakeFirst();
    expect(row).toEqual({ mode: 416, mtime_ns: '1700000000123456789' });
  });

  test('a time that no 64 bits hold is refused in words', async () => {
    for (const mtime of ['9223372036854775808', '99999999999999999999', '-1', '1e3']) {
      const path = uploadPath(space.root, 't', `&mtime=${mtime}`);
      const reply = await space.owner.call('PUT', path, Buffer.from('x'));
      expect(reply).toMatchObject({ status: 400, body: { error: { code: 'invalid_input' } } });
    }
  });

  test('an empty file is a file', async () => {
    const node = await space.upload('empty', '');

    const got = await download(space.owner, space.appliance.app, node.id);

    expect([got.status, got.body.length, node.sizeBytes]).toEqual([200, 0, 0]);
  });

  test('neither names nor content are readable in the database or the store', async () => {
    const { readFile } = await import('node:fs/promises');
    const marker = 'plainly visible marker';
    await space.upload(`${marker}.txt`, `${marker} in the content`);

    const rows = JSON.stringify(await space.state());
    const files = await Promise.all((await space.stored()).map((path) => readFile(path)));

    const asJson = JSON.stringify(Buffer.from(marker)).slice(30, -3);
    expect(rows.includes(marker) || rows.includes(asJson)).toBe(false);
    expect(files.some((file) => file.includes(marker))).toBe(false);
  });

  test.each([
    ['bytes=0-0', 206, 0, 1],
    ['bytes=10-19', 206, 10, 20],
    ['bytes=1048570-1048590', 206, 1_048_570, 1_048_591],
    ['bytes=2000000-', 206, 2_000_000, 2_500_000],
    ['bytes=-5', 206, 2_499_995, 2_500_000],
    ['bytes=-9999999', 206, 0, 2_500_000],
    ['bytes=0-99999999', 206, 0, 2_500_000],
    ['bytes=5-1', 200, 0, 2_500_000],
    ['bytes=a-b', 200, 0, 2_500_000],
    ['bytes=0-1,5-6', 200, 0, 2_500_000],
    ['lines=1-2', 200, 0, 2_500_000],
  ])('range %s is answered with %i', async (range, status, start, end) => {
    const content = await rangeFile();

    const got = await download(space.owner, space.appliance.app, content.id, { range });

    expect(got.status).toBe(status);
    expect(got.body.equals(content.bytes.subarray(start, end))).toBe(true);
    expect(got.headers['content-range']).toBe(
      status === 206 ? `bytes ${start}-${end - 1}/2500000` : undefined,
    );
  });

  test('a range beyond the end is answered with 416 and the size', async () => {
    const { id } = await rangeFile();

    const beyond = [
      'bytes=2500000-',
      'bytes=9999999-99999999',
      'bytes=-0',
      'bytes=99999999999999999999-',
      `bytes=${'9'.repeat(400)}-${'9'.repeat(401)}`,
    ];
    for (const range of beyond) {
      const got = await download(space.owner, space.appliance.app, id, { range });

      expect([got.status, got.headers['content-range']]).toEqual([416, 'bytes */2500000']);
    }
  });

  test('conditional requests follow the content', async () => {
    const { id, bytes: content } = await rangeFile();
    const first = await download(space.owner, space.appliance.app, id);
    const etag = String(first.headers.etag);

    const same = await download(space.owner, space.appliance.app, id, { 'if-none-match': `W/${etag}, "x"` });
    const kept = await download(space.owner, space.appliance.app, id, {
      range: 'bytes=0-9',
      'if-range': etag,
    });
    const changed = await download(space.owner, space.appliance.app, id, {
      range: 'bytes=0-9',
      'if-range': '"x"',
    });

    expect([same.status, same.body.length]).toEqual([304, 0]);
    expect([kept.status, kept.body.length]).toEqual([206, 10]);
    expect([changed.status, changed.body.length]).toEqual([200, content.length]);
  });

  test('HEAD tells what GET would send, and reads nothing', async () => {
    const { id } = await rangeFile();
    const before = await space.state();

    const reply = await space.appliance.app.inject({
      method: 'HEAD',
      url: `/api/v1/files/${id}/content`,
      headers: { cookie: space.owner.cookie },
    });

    expect([reply.statusCode, reply.headers['content-length'], reply.rawPayload.length]).toEqual([
      200,
      '2500000',
      0,
    ]);
    expect(await space.state()).toEqual(before);
  });

  test('a replaced file has the new content, and the old one is doomed', async () => {
    const first = await space.upload('report.txt', 'first');

    const second = await space.upload('report.txt', 'second', { query: '&onConflict=replace' });

    expect(second.id).toBe(first.id);
    expect((await download(space.owner, space.appliance.app, first.id)).body.toString()).toBe('second');
    const { db } = space.appliance.deps;
    const versions = await db
      .selectFrom('file_versions')
      .select('version')
      .where('node_id', '=', first.id)
      .execute();
    expect(versions).toEqual([{ version: 2 }]);
    expect(await db.selectFrom('doomed_contents').selectAll().execute()).not.toEqual([]);
  });

  test('a file that keeps both gets a number before its ending', async () => {
    const folder = await space.folder('numbers');
    const names = [];
    for (let n = 0; n < 3; n += 1) {
      const node = await space.upload('photo.final.jpg', String(n), {
        folderId: folder.id,
        query: '&onConflict=rename',
      });
      names.push(node.name);
    }

    expect(names).toEqual(['photo.final.jpg', 'photo.final (2).jpg', 'photo.final (3).jpg']);
  });

  test('of concurrent uploads of one name one is stored, or all under names of their own', async () => {
    const folder = await space.folder('race');
    const put = (query: string) => (content: string) =>
      space.owner.call('PUT', uploadPath(folder.id, 'same', query), undefined, bytes(content));

    const refusing = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map(put('')));
    const renaming = await Promise.all(['a', 'b', 'c', 'd'].map(put('&onConflict=rename')));

    expect(refusing.map((reply) => reply.status).sort()).toEqual([201, 409, 409, 409, 409, 409]);
    expect(renaming.map((reply) => reply.status)).toEqual([201, 201, 201, 201]);
    const { items } = await space.list(folder.id);
    expect(new Set(items.map((item) => item.name)).size).toBe(5);
    const versions = await space.appliance.deps.db.selectFrom('file_versions').select('content_id').execute();
    const doomed = await space.appliance.deps.db.selectFrom('doomed_contents').select('content_id').execute();
    expect((await space.stored()).length).toBe(versions.length + doomed.length);
  });

  test('every act has one audit entry, without a name in it', async () => {
    const node = await space.upload('audited name.txt', 'audited');
    await space.owner.call('PATCH', `/nodes/${node.id}`, { name: 'audited too.txt' });
    await download(space.owner, space.appliance.app, node.id);
    await space.owner.call('DELETE', `/nodes/${node.id}`);

    const entries = await space.appliance.deps.db
      .selectFrom('audit_entries')
      .selectAll()
      .where('object_id', '=', node.id)
      .orderBy('number')
      .execute();

    expect(entries.map((entry) => entry.action)).toEqual([
      'workspaces.file.uploaded',
      'workspaces.file.renamed',
      'workspaces.file.downloaded',
      'workspaces.file.deleted',
    ]);
    expect(JSON.stringify(entries)).not.toContain('audited');
  });
});

describe('hostile names', () => {
  const NAMES = [
    'line\nbreak',
    '"quotes"; filename=evil.exe',
    '<img src=x onerror=alert(1)>.html',
    'naïve \u0301 e\u0301 \u202egnp.exe',
    '日本語 🎉',
    '%2e%2e%2f',
    'CON',
    '-rf',
    'x'.repeat(255),
    ' ',
    '\\',
  ];

  test.each(NAMES)('%j is kept exactly, and does not escape its header', async (name) => {
    const node = await space.upload(name, 'content');

    const got = await download(space.owner, space.appliance.app, node.id);

    expect((await space.owner.call('GET', `/nodes/${node.id}`)).body).toMatchObject({ name });
    const disposition = String(got.headers['content-disposition']);
    expect(disposition).toMatch(
      /^attachment; filename="[^"\\]*"; filename\*=UTF-8''[A-Za-z0-9!#$&+.^_`|~%-]*$/,
    );
    expect(decodeURIComponent(disposition.split("UTF-8''")[1] ?? '')).toBe(name);
  });

  test('names that differ only in Unicode form are two names', async () => {
    const folder = await space.folder('forms');

    await space.upload('é', 'one', { folderId: folder.id });
    await space.upload('e\u0301', 'two', { folderId: folder.id });

    expect((await space.list(folder.id)).total).toBe(2);
  });
});

let shared: { id: string; bytes: Buffer } | undefined;
async function rangeFile(): Promise<{ id: string; bytes: Buffer }> {
  if (shared === undefined) {
    const content = Buffer.concat([noise(1_200_000), Buffer.alloc(1_300_000, 'compressible ')]);
    shared = { id: (await space.upload('ranges.bin', content)).id, bytes: content };
  }
  return shared;
}
