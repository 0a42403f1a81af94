import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  mkdtempSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  ADMIN_ROLE,
  closedFolder,
  runningPostmaster,
  socketAddress,
  startPostgres,
  withClient,
  type PostgresServer,
} from '../../server/lib/postgres/index.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { NOBODY, othersMayPass } from '../helpers/other-account.ts';
import { runProcess } from '../../server/lib/spawn.ts';

let folder: string;
let server: PostgresServer | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-postgres-'));
  chmodSync(folder, 0o711);
});

afterEach(async () => {
  await server?.stop();
  server = undefined;
  rmSync(folder, { recursive: true, force: true });
});

const parts = (top = folder) => ({
  clusterDir: join(top, 'postgres'),
  socketDir: join(top, 'run', 'pg'),
  logFile: join(top, 'postgres.log'),
});

const query = async (text: string, socketDir = parts().socketDir) =>
  withClient(socketAddress(socketDir, ADMIN_ROLE, 'postgres'), 'test', async (client) => {
    const result = await client.query<Record<string, unknown>>(text);
    return result.rows;
  });

describe('a folder that PostgreSQL may not use', () => {
  test('a second server on the same cluster is refused and the first goes on', async () => {
    server = await startPostgres(parts());

    await expect(startPostgres(parts())).rejects.toMatchObject({ code: 'locked' });

    expect(await query('select 1 as one')).toEqual([{ one: 1 }]);
  });

  test('a cluster of another major is refused with words and left alone', async () => {
    mkdirSync(parts().clusterDir);
    writeFileSync(join(parts().clusterDir, 'PG_VERSION'), '16\n');

    await expect(startPostgres(parts())).rejects.toMatchObject({
      code: 'wrong_state',
      message: expect.stringContaining('PostgreSQL 16') as string,
    });

    expect(readFileSync(join(parts().clusterDir, 'PG_VERSION'), 'utf8')).toBe('16\n');
  });

  test('a folder that is no cluster is refused and left alone', async () => {
    mkdirSync(parts().clusterDir);
    writeFileSync(join(parts().clusterDir, 'letter.txt'), 'dear');

    await expect(startPostgres(parts())).rejects.toMatchObject({ code: 'conflict' });

    expect(readFileSync(join(parts().clusterDir, 'letter.txt'), 'utf8')).toBe('dear');
  });

  test('a server that does not come up says why', async () => {
    const starting = startPostgres({ ...parts(), settings: { shared_buffers: 'plenty' } });

    await expect(starting).rejects.toMatchObject({
      code: 'unavailable',
      detail: expect.stringContaining('shared_buffers') as string,
    });
  });
});

/** Who runs PostgreSQL: of others' processes it does not believe that they are servers. */
async function makeCluster(): Promise<{ uid: number; gid: number }> {
  server = await startPostgres(parts());
  await server.stop();
  return statSync(parts().clusterDir);
}

async function startsBehind(pid: number): Promise<void> {
  const { clusterDir, socketDir } = parts();
  for (const path of [join(clusterDir, 'postmaster.pid'), join(socketDir, '.s.PGSQL.5432.lock')])
    writeFileSync(path, `${pid}\n${clusterDir}\n0\n5432\n\n\n\n`);

  server = await startPostgres(parts());

  expect(await query('select 1 as one')).toEqual([{ one: 1 }]);
}

describe('the server', () => {
  test('has checksums, the built-in locale, WAL summaries and no TCP port', async () => {
    server = await startPostgres(parts());

    const rows = await query(`
      select current_setting('data_checksums') as checksums, current_setting('listen_addresses') as addresses,
        current_setting('summarize_wal') as summaries, current_setting('fsync') as fsync, datlocale, datlocprovider
      from pg_database where datname = 'template1'`);

    expect(rows).toEqual([
      {
        checksums: 'on',
        addresses: '',
        summaries: 'on',
        fsync: 'on',
        datlocale: 'C.UTF-8',
        datlocprovider: 'b',
      },
    ]);
    expect(statSync(parts().socketDir).mode & 0o777).toBe(0o700);
  });

  test('keeps its data over a clean stop', async () => {
    server = await startPostgres(parts());
    await query('create table kept as select 7 as n');
    await server.stop();
    await server.stop();

    server = await startPostgres(parts());

    expect(await query('select n from kept')).toEqual([{ n: 7 }]);
  });

  test('recovers what was committed when it is killed', async () => {
    server = await startPostgres(parts());
    await query('create table kept as select 7 as n');
    process.kill(server.pid, 'SIGKILL');
    await server.exited;

    server = await startPostgres(parts());

    expect(await query('select n from kept')).toEqual([{ n: 7 }]);
  });

  test('that a killed Holdfast left behind is ended by whoever holds the folder', async () => {
    const left = await startPostgres(parts());
    await query('create table kept as select 7 as n');

    server = await startPostgres({ ...parts(), takeOver: true });

    expect(await left.exited).toMatchObject({ exitCode: 0 });
    expect(runningPostmaster(parts().clusterDir)).toBe(server.pid);
    expect(await query('select n from kept')).toEqual([{ n: 7 }]);
  });

  test('starts although the number in its lock files now belongs to another program', async () => {
    const { uid, gid } = await makeCluster();
    const other = spawn('sleep', ['60'], { uid, gid });

    await startsBehind(other.pid ?? 0);
    other.kill();
  });

  test('starts although nobody has waited for the process of that number, which is dead', async () => {
    const { uid, gid } = await makeCluster();
    // The child ends when its parent has become a program that never asks for it.
    const parent = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60'], { uid, gid });
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const dead = Number(line.toString());
    const nameOf = (pid: number | undefined) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
    await waitFor('both to be what they become', () =>
      [parent.pid, dead].every((pid) => nameOf(pid) === 'sleep'),
    );
    process.kill(dead, 'SIGKILL');
    await waitFor('the end of the child', () => readFileSync(`/proc/${dead}/stat`, 'utf8').includes(') Z '));

    await startsBehind(dead);
    parent.kill();
  });

  test('made half by a crash is made anew', async () => {
    mkdirSync(`${parts().clusterDir}.unfinished`);
    writeFileSync(join(`${parts().clusterDir}.unfinished`, 'PG_VERSION'), '17\n');

    server = await startPostgres(parts());

    expect(existsSync(`${parts().clusterDir}.unfinished`)).toBe(false);
    expect(await query('select 1 as one')).toEqual([{ one: 1 }]);
  });

  test('works under a path of 150 characters', async () => {
    const deep = join(folder, 'd'.repeat(60), 'e'.repeat(60), 'f'.repeat(30));
    mkdirSync(deep, { recursive: true });

    server = await startPostgres(parts(deep));

    expect(await query('select 1 as one', parts(deep).socketDir)).toEqual([{ one: 1 }]);
  });
});

describe('as root', () => {
  test.runIf(othersMayPass)('runs as nobody where that user may pass', async () => {
    server = await startPostgres(parts());

    expect(server.accountKind).toBe('nobody');
    expect(statSync(parts().clusterDir).uid).toBe(NOBODY);
  });

  test.runIf(othersMayPass)(
    'runs in a namespace below a folder closed to others, and moves between the two',
    async () => {
      server = await startPostgres(parts());
      await query('create table kept as select 7 as n');
      await server.stop();
      chmodSync(folder, 0o700);

      server = await startPostgres(parts());

      expect(server.accountKind).toBe('namespace');
      expect(await query('select n from kept')).toEqual([{ n: 7 }]);
      await server.stop();
      chmodSync(folder, 0o711);
      server = await startPostgres(parts());
      expect(server.accountKind).toBe('nobody');
      expect(await query('select n from kept')).toEqual([{ n: 7 }]);
    },
  );

  test.runIf(othersMayPass)(
    'another user of the machine may not connect, even where the socket can be reached',
    async () => {
      for (const mode of [0o711, 0o700]) {
        chmodSync(folder, mode);
        server = await startPostgres({ ...parts(), settings: { unix_socket_permissions: '0777' } });
        chmodSync(folder, 0o711);
        chmodSync(join(folder, 'run'), 0o711);
        chmodSync(parts().socketDir, 0o711);
        const script = join(import.meta.dirname, 'start-postgres.ts');

        const tried = await runProcess(
          process.execPath,
          [script.replace('start-', 'connect-'), parts().socketDir],
          {
            timeoutMs: 20_000,
            uid: 1234,
            gid: 1234,
          },
        );

        expect(`${tried.stdout}${tried.stderr}`).toMatch(/Peer authentication failed|no_name|28000/);
        await server.stop();
      }
    },
  );

  test.runIf(othersMayPass)('the first closed folder on the way is named', () => {
    mkdirSync(join(folder, 'closed'), { mode: 0o700 });

    expect(closedFolder(join(folder, 'closed', 'a', 'b'), { uid: NOBODY, gid: NOBODY })).toBe(
      join(folder, 'closed'),
    );
    expect(closedFolder(join(folder, 'closed'), { uid: NOBODY, gid: NOBODY })).toBeUndefined();
  });
});

test.runIf(othersMayPass)('an ordinary user runs it under its own name', async () => {
  const own = join(folder, 'own');
  mkdirSync(own, { mode: 0o700 });
  const { chownSync } = await import('node:fs');
  chownSync(own, NOBODY, NOBODY);

  const ended = await runProcess(process.execPath, [join(import.meta.dirname, 'start-postgres.ts'), own], {
    timeoutMs: 60_000,
    uid: NOBODY,
    gid: NOBODY,
    cwd: own,
  });

  expect(ended.stderr).toBe('');
  expect(JSON.parse(ended.stdout)).toEqual({ answer: ADMIN_ROLE, kind: 'self' });
});
