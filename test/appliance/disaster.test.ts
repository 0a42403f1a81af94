import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kitToJson } from '../../server/keys/index.ts';
import { choosePostgresAccount, findPostgresBinaries } from '../../server/lib/postgres/index.ts';
import { shortDirectory } from '../../server/lib/sockets.ts';
import {
  addDirectoryTarget,
  claimAppliance,
  expectStatus,
  finishRun,
  makeFolder,
  removeFolder,
  runHoldfast,
  serveAppliance,
  signIn,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';
import { tool } from '../helpers/tools.ts';
import { waitFor } from '../helpers/wait-for.ts';

/** What was in the appliance when its machine was lost: path → SHA-256 of the content. */
const uploaded = new Map<string, string>();
let folder = '';
let target = '';
let kitFile = '';
let applianceId = '';

beforeAll(async () => {
  folder = await makeFolder('disaster');
  target = join(folder, 'target');
  kitFile = join(folder, 'kit.json');
  await mkdir(target);
  const appliance = await serveAppliance({ dataDir: join(folder, 'lost') });
  const kit = await claimAppliance(appliance);
  await writeFile(kitFile, kitToJson(kit), { mode: 0o600 });
  await addDirectoryTarget(appliance, target);
  await fill(appliance);
  const run = await finishRun(appliance, appliance.call('POST', '/snapshots'));
  if (run.state !== 'succeeded') throw new Error(JSON.stringify(run));
  applianceId = (await expectStatus(appliance.call<{ id: string }>('GET', '/settings/appliance'), 200)).id;
  await appliance.stop();
  await removeFolder(join(folder, 'lost'));
}, 180_000);

afterAll(async () => {
  await removeFolder(folder);
});

describe('with the machine gone', () => {
  it('holdfast recover gives a running appliance with the same people, files, settings and keys', async () => {
    const dataDir = join(folder, 'new machine', 'data');
    await mkdir(join(folder, 'new machine'));

    const recovered = await runHoldfast([
      'recover',
      '--from',
      target,
      '--kit',
      kitFile,
      '--data',
      dataDir,
      '--yes',
      '--go-live',
      '--json',
    ]);
    expect(recovered.stderr + recovered.stdout).not.toContain('AGE-SECRET-KEY');
    expect({
      exitCode: recovered.exitCode,
      stderr: recovered.exitCode === 0 ? '' : recovered.stderr,
    }).toEqual({ exitCode: 0, stderr: '' });
    const appliance = await serveAppliance({ dataDir });
    try {
      await signIn(appliance);
      const settings = await expectStatus(
        appliance.call<{ id: string; name: string }>('GET', '/settings/appliance'),
        200,
      );
      const found = await downloadAll(appliance);
      const kits = await expectStatus(
        appliance.call<{ items: { state: string }[] }>('GET', '/recovery-kits'),
        200,
      );

      expect(settings).toMatchObject({ name: 'Vault', region: 'eu-north' });
      expect(settings.id).not.toBe(applianceId);
      expect(found).toEqual(uploaded);
      expect(kits.items.map((one) => one.state)).toEqual(['proven']);
      expect(appliance.claimCode).toBeUndefined();

      const again = await finishRun(appliance, appliance.call('POST', '/snapshots'));
      expect(again.state).toBe('succeeded');
    } finally {
      await appliance.stop();
    }
  }, 180_000);

  it('a wrong kit recovers nothing and says so', async () => {
    const wrong = join(folder, 'wrong.json');
    const kit = JSON.parse(await readFile(kitFile, 'utf8')) as Record<string, string>;
    const { generateAgeIdentity } = await import('../../server/keys/index.ts');
    await writeFile(wrong, JSON.stringify({ ...kit, ageIdentity: (await generateAgeIdentity()).identity }));
    const dataDir = join(folder, 'not-made');

    const refused = await runHoldfast([
      'recover',
      '--from',
      target,
      '--kit',
      wrong,
      '--data',
      dataDir,
      '--yes',
    ]);

    expect(refused.exitCode).toBe(12);
    expect((await readdir(dataDir)).filter((name) => name !== 'lock')).toEqual([]);
  });

  it('stock age, zstd and Python bring an uploaded file back under its own name', async () => {
    const into = join(folder, 'by hand');

    const listed = await runScript(['files', 'latest', '--to', into]);

    expect(listed).toMatchObject({ exitCode: 0 });
    const files = (await readdir(into, { recursive: true, withFileTypes: true })).filter((entry) =>
      entry.isFile(),
    );
    const found = new Map<string, string>();
    for (const entry of files) {
      const path = join(entry.parentPath, entry.name);
      found.set(
        path
          .slice(into.length + 1)
          .split('/')
          .slice(1)
          .join('/'),
        sha256(await readFile(path)),
      );
    }
    expect(found).toEqual(uploaded);
  }, 120_000);

  it('stock PostgreSQL starts from what the script restores and holds the rows of the restore point', async () => {
    const cluster = join(folder, 'cluster');
    const restored = await runScript(['restore', 'latest', '--section', 'database', '--to', cluster]);
    expect(restored).toMatchObject({ exitCode: 0 });

    const rows = await withStockPostgres(cluster, async (client) => {
      const nodes = await client.query<{ count: string }>(`select count(*) from nodes where kind = 'file'`);
      const owners = await client.query<{ role: string }>('select role from users');
      return { files: Number(nodes.rows[0]?.count), roles: owners.rows.map((row) => row.role) };
    });

    expect(rows).toEqual({ files: uploaded.size, roles: ['owner'] });
  }, 120_000);
});

/** Folders, an empty file, a large one and odd names. */
async function fill(appliance: ServedAppliance): Promise<void> {
  const { items } = await expectStatus(
    appliance.call<{ items: { rootFolderId: string }[] }>('GET', '/workspaces'),
    200,
  );
  const rootFolderId = items[0]?.rootFolderId ?? '';
  const made = await expectStatus(
    appliance.call<{ id: string }>('POST', '/folders', {
      parentId: rootFolderId,
      name: 'Ünïcode & "quotes"',
    }),
    201,
  );
  const contents: [string, string, string, Buffer][] = [
    [rootFolderId, '', 'hello.txt', Buffer.from('hello\n'.repeat(50_000))],
    [rootFolderId, '', 'empty', Buffer.alloc(0)],
    [
      rootFolderId,
      '',
      'program',
      await readFile(process.execPath).then((bytes) => bytes.subarray(0, 9_000_000)),
    ],
    [made.id, 'Ünïcode & "quotes"/', "it's a 日本 file.pdf", Buffer.from('%PDF-1.7 not really')],
  ];
  for (const [parent, path, name, content] of contents) {
    await expectStatus(
      appliance.call('PUT', `/folders/${parent}/files?name=${encodeURIComponent(name)}`, content),
      201,
    );
    uploaded.set(path + name, sha256(content));
  }
}

async function downloadAll(appliance: ServedAppliance): Promise<Map<string, string>> {
  type Page = { items: { id: string; name: string; kind: string }[] };
  const found = new Map<string, string>();
  const walk = async (folderId: string, path: string): Promise<void> => {
    const { items } = await expectStatus(appliance.call<Page>('GET', `/folders/${folderId}`), 200);
    for (const item of items) {
      if (item.kind === 'folder') await walk(item.id, `${path}${item.name}/`);
      else
        found.set(
          path + item.name,
          sha256(await expectStatus(appliance.call<Buffer>('GET', `/files/${item.id}/content`), 200)),
        );
    }
  };
  const { items } = await expectStatus(
    appliance.call<{ items: { rootFolderId: string }[] }>('GET', '/workspaces'),
    200,
  );
  await walk(items[0]?.rootFolderId ?? '', '');
  return found;
}

/** The script of the kit, with nothing of Holdfast but itself. */
async function runScript(args: string[]): Promise<{ exitCode: number | null; stderr: string }> {
  const { path, env } = tool('python3');
  tool('age');
  tool('zstd');
  const script = join(import.meta.dirname, '..', '..', 'server', 'backups', 'kit-restore.py');
  const child = spawn(path, [script, '--target', target, '--kit', kitFile, ...args], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const exitCode = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { exitCode, stderr };
}

/** The binaries as they come, on the folder as the script left it. */
async function withStockPostgres<T>(cluster: string, act: (client: pg.Client) => Promise<T>): Promise<T> {
  const binaries = findPostgresBinaries();
  const account = await choosePostgresAccount([cluster, binaries.postgres]);
  if (account.kind === 'nobody') {
    const { chown, chmod } = await import('node:fs/promises');
    await chmod(folder, 0o711);
    for (const entry of ['', ...(await readdir(cluster, { recursive: true }))]) {
      await chown(join(cluster, entry), account.owner.uid, account.owner.gid);
    }
  }
  const [command, ...args] = [...account.prefix, binaries.postgres, '-D', cluster];
  const child = spawn(command, [...args, '-c', 'listen_addresses=', '-c', 'unix_socket_directories=.'], {
    cwd: cluster,
    stdio: ['ignore', 'ignore', 'pipe'],
    ...account.ids,
  });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (log += text));
  try {
    return await waitFor(
      'PostgreSQL to answer',
      async () => {
        if (child.exitCode !== null) throw new Error(log);
        const client = new pg.Client({
          host: shortDirectory(cluster),
          user: 'holdfast',
          database: 'holdfast',
        });
        client.on('error', () => undefined);
        try {
          await client.connect();
        } catch {
          return undefined;
        }
        try {
          return await act(client);
        } finally {
          await client.end();
        }
      },
      60_000,
    );
  } finally {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGINT');
    await ended;
  }
}

function sha256(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
