import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeTransaction } from '../../server/lib/db.ts';
import { collectDoomedContents, ensureNameIndex } from '../../server/workspaces/index.ts';
import { sweepStore } from '../../server/workspaces/job.ts';
import { bytes, download, startTestWorkspace, uploadPath, type TestWorkspace } from './workspace.ts';

let space: TestWorkspace;
beforeAll(async () => void (space = await startTestWorkspace()));
afterAll(() => space.appliance.close());

describe('listing', () => {
  test('pages follow one another without gap or repetition, folders first', async () => {
    const folder = await space.folder('pages');
    const names = ['b2', 'b10', 'B1', 'a', 'ä', 'zebra', '_x', 'b2 copy'];
    for (const name of names)
      await space.upload(name, 'x'.repeat(names.indexOf(name)), { folderId: folder.id });
    for (const name of ['z folder', 'a folder']) await space.folder(name, folder.id);

    for (const query of ['sort=name', 'sort=name&order=desc', 'sort=size', 'sort=modified&order=desc']) {
      const all = (await space.list(folder.id, `?limit=500&${query}`)).items.map((item) => item.name);
      const paged: string[] = [];
      let cursor = '';
      do {
        const page = await space.list(folder.id, `?limit=3&${query}${cursor}`);
        expect(page.total).toBe(10);
        paged.push(...page.items.map((item) => item.name));
        cursor = page.nextCursor === null ? '' : `&cursor=${page.nextCursor}`;
      } while (cursor !== '');
      expect(paged).toEqual(all);
      expect(new Set(paged.slice(0, 2))).toEqual(new Set(['z folder', 'a folder']));
    }
    const byName = (await space.list(folder.id)).items.slice(2).map((item) => item.name);
    expect(byName).toEqual(['_x', 'a', 'ä', 'B1', 'b2', 'b2 copy', 'b10', 'zebra']);
  });

  test('a search finds parts of names in any case, in this folder only', async () => {
    const folder = await space.folder('search');
    const below = await space.folder('report folder', folder.id);
    await space.upload('Annual REPORT.pdf', 'x', { folderId: folder.id });
    await space.upload('other.pdf', 'x', { folderId: folder.id });
    await space.upload('report below', 'x', { folderId: below.id });

    const found = await space.list(folder.id, '?search=report');

    expect(found.items.map((item) => item.name)).toEqual(['report folder', 'Annual REPORT.pdf']);
    expect(found.total).toBe(2);
  });

  test('a folder tells the way to it, root first', async () => {
    const outer = await space.folder('way');
    const inner = await space.folder('in', outer.id);

    const { ancestors, folder } = await space.list(inner.id);

    expect(ancestors.map((item) => item.id)).toEqual([space.root, outer.id]);
    expect(folder.name).toBe('in');
  });

  test('a name that was damaged is listed as unreadable, and can be renamed and deleted', async () => {
    const folder = await space.folder('damaged');
    const node = await space.upload('was fine', 'x', { folderId: folder.id });
    await writeTransaction(space.appliance.deps.db, (tx) =>
      tx
        .updateTable('nodes')
        .set({ name_sealed: Buffer.alloc(60, 1) })
        .where('id', '=', node.id)
        .execute(),
    );

    const [listed] = (await space.list(folder.id)).items;
    expect(listed?.name).toMatch(/^unreadable-/);
    const renamed = await space.owner.call('PATCH', `/nodes/${node.id}`, { name: 'fine again' });
    expect([renamed.status, renamed.body.name]).toEqual([200, 'fine again']);
  });
});

describe('moving', () => {
  test('a moved folder takes what is in it along', async () => {
    const [from, to] = [await space.folder('from'), await space.folder('to')];
    const file = await space.upload('in it', 'x', { folderId: from.id });

    const moved = await space.owner.call('PATCH', `/nodes/${from.id}`, { parentId: to.id, name: 'renamed' });

    expect(moved.body).toMatchObject({ parentId: to.id, name: 'renamed' });
    expect((await space.list(from.id)).ancestors.map((item) => item.id)).toEqual([space.root, to.id]);
    expect((await space.list(from.id)).items.map((item) => item.id)).toEqual([file.id]);
    await space.folder('from');
  });

  test('two folders moved into each other at once make no circle', async () => {
    for (let round = 0; round < 5; round += 1) {
      const [a, b] = [await space.folder(`a${round}`), await space.folder(`b${round}`)];

      const replies = await Promise.all([
        space.owner.call('PATCH', `/nodes/${a.id}`, { parentId: b.id }),
        space.owner.call('PATCH', `/nodes/${b.id}`, { parentId: a.id }),
      ]);

      expect(replies.map((reply) => reply.status).sort()).toEqual([200, 400]);
    }
  });
});

describe('deleting', () => {
  test('a deleted folder is gone with all that is in it, and its bytes after the collection', async () => {
    const folder = await space.folder('gone');
    const below = await space.folder('below', folder.id);
    const file = await space.upload('file', 'content', { folderId: below.id });

    expect((await space.owner.call('DELETE', `/nodes/${folder.id}`)).status).toBe(204);

    for (const path of [`/folders/${folder.id}`, `/nodes/${below.id}`, `/files/${file.id}/content`]) {
      expect((await space.owner.call('GET', path)).status).toBe(404);
    }
    await collectDoomedContents(space.appliance.deps);
    const { db } = space.appliance.deps;
    expect(await db.selectFrom('doomed_contents').selectAll().execute()).toEqual([]);
    const versions = await db.selectFrom('file_versions').select('content_id').execute();
    expect(await space.stored()).toHaveLength(versions.length);
    await space.folder('gone');
  });

  test('nothing is collected while a snapshot holds the store', async () => {
    const { withAdvisoryLock } = await import('../../server/lib/lock.ts');
    const file = await space.upload('held', 'held');
    await space.owner.call('DELETE', `/nodes/${file.id}`);
    const before = await space.stored();

    await withAdvisoryLock(
      space.appliance.deps.db,
      'fileCollection',
      async () => {
        expect(await collectDoomedContents(space.appliance.deps)).toBeUndefined();
        expect(await space.stored()).toEqual(before);
      },
      { shared: true },
    );

    await collectDoomedContents(space.appliance.deps);
    expect(await space.stored()).toHaveLength(before.length - 1);
  });

  test('uploads into a folder that is being deleted end with it, or are refused', async () => {
    const folder = await space.folder('contested');
    const uploads = Array.from({ length: 12 }, (_, n) =>
      space.owner.call('PUT', uploadPath(folder.id, `file ${n}`), undefined, bytes('x')),
    );

    const [deleted, ...replies] = await Promise.all([
      space.owner.call('DELETE', `/nodes/${folder.id}`),
      ...uploads,
    ]);

    expect(deleted.status).toBe(204);
    expect(replies.every((reply) => reply.status === 201 || reply.status === 404)).toBe(true);
    const left = await space.appliance.deps.db
      .selectFrom('nodes')
      .select('id')
      .where('parent_id', '=', folder.id)
      .execute();
    expect(left).toEqual([]);
  });
});

describe('the index of names', () => {
  test('after a crash of the database it is rebuilt before a name is given', async () => {
    const folder = await space.folder('index');
    await space.upload('once', 'x', { folderId: folder.id });
    const { db } = space.appliance.deps;
    const before = await db.selectFrom('node_name_index').selectAll().orderBy('node_id').execute();
    await writeTransaction(db, (tx) => tx.deleteFrom('node_name_index').execute());

    const again = await space.owner.call('PUT', uploadPath(folder.id, 'once'), undefined, bytes('x'));

    expect(again.status).toBe(409);
    expect(await db.selectFrom('node_name_index').selectAll().orderBy('node_id').execute()).toEqual(before);
    expect(await ensureNameIndex(space.appliance.deps)).toBeUndefined();
  });
});

describe('the store', () => {
  test('what a crash left is swept: temporaries of dead writers, and contents without a row', async () => {
    const { writeFile, utimes } = await import('node:fs/promises');
    const { join } = await import('node:path');
    const before = await space.stored();
    const files = join(space.appliance.dataDir, 'files');
    const orphan = join(files, 'ab', 'abababab-0000-4000-8000-000000000000');
    const young = join(files, 'ab', 'abababab-0000-4000-8000-000000000001');
    const dead = join(files, 'ab', '.tmp-999999999-aabbccdd-abababab-0000-4000-8000-000000000002');
    const alive = join(files, 'ab', `.tmp-${process.pid}-aabbccdd-abababab-0000-4000-8000-000000000003`);
    for (const path of [orphan, young, dead, alive]) await writeFile(path, 'left');
    await utimes(orphan, 1, 1);

    expect(await sweepStore(space.appliance.deps)).toEqual({ temporaries: 1, contents: 1 });
    expect(await space.stored()).toEqual([...before, young, alive].sort());
    expect(await sweepStore(space.appliance.deps, { starting: true, olderThanMs: 0 })).toEqual({
      temporaries: 1,
      contents: 1,
    });
    expect(await space.stored()).toEqual(before);
  });

  test('a stored file that was damaged is not handed out', async () => {
    const { open } = await import('node:fs/promises');
    const { contentPath } = await import('../../server/workspaces/index.ts');
    const node = await space.upload('to be damaged', 'content of the file');
    const row = await space.appliance.deps.db
      .selectFrom('file_versions')
      .select('content_id')
      .where('node_id', '=', node.id)
      .executeTakeFirstOrThrow();
    const handle = await open(contentPath(space.appliance.dataDir, row.content_id), 'r+');
    await handle.write(Buffer.from('X'), 0, 1, 20);
    await handle.close();

    const got = await download(space.owner, space.appliance.app, node.id);

    expect([got.status, (JSON.parse(got.body.toString()) as { error: { code: string } }).error.code]).toEqual(
      [500, 'integrity_failure'],
    );
  });
});

describe('previews', () => {
  const PNG = Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex');

  async function preview(id: string) {
    const reply = await space.appliance.app.inject({
      method: 'GET',
      url: `/api/v1/files/${id}/preview`,
      headers: { cookie: space.owner.cookie },
    });
    return reply;
  }

  test('what can run or is no text has no preview', async () => {
    for (const [name, content] of [
      ['photo.png', Buffer.from([0, 1, 2, 3, 255, 254])],
      ['doc.pdf', Buffer.from('%PDF-1.7 and so on')],
      ['latin.txt', Buffer.from('caf\xe9', 'latin1')],
    ] as const) {
      const node = await space.upload(`no ${name}`, content);

      expect(node.preview).toBeNull();
      expect((await preview(node.id)).statusCode).toBe(400);
    }
  });

  test('HTML and SVG are shown as plain text in a document that can run nothing', async () => {
    for (const content of ['<!doctype html><script>alert(1)</script>', '<svg onload="alert(1)"/>']) {
      const node = await space.upload(`page ${content.length}.html`, content);

      const reply = await preview(node.id);

      expect(reply.headers).toMatchObject({
        'content-type': 'text/plain; charset=utf-8',
        'x-content-type-options': 'nosniff',
        'cross-origin-resource-policy': 'same-origin',
      });
      expect(reply.headers['content-security-policy']).toMatch(/^sandbox; default-src 'none'/);
      expect(reply.body).toBe(content);
    }
  });

  test('an image is told by its bytes, whatever its name says', async () => {
    const node = await space.upload('picture.txt', PNG);

    const reply = await preview(node.id);

    expect([node.preview, reply.headers['content-type']]).toEqual(['image', 'image/png']);
    expect(reply.rawPayload.equals(PNG)).toBe(true);
  });

  test('long text is cut at a whole character', async () => {
    const node = await space.upload('long.txt', 'é'.repeat(700_000));

    const reply = await preview(node.id);

    expect(reply.body).toBe('é'.repeat(512 * 1024));
  });
});
