import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  readdirSync,
  mkdtempSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  copyPostgres,
  postgresFacts,
  type PostgresSourceOptions,
} from '../../../server/backups/database/postgres-source.ts';
import { startScratchDatabase } from '../../../server/backups/scratch-database.ts';
import { scratchClusterDir, sweepScratch, wipeScratch } from '../../../server/lib/data-folder.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { clientConfig, WRITE_GATE, writeTransaction } from '../../../server/lib/db.ts';
import { HoldfastError } from '../../../server/lib/errors.ts';
import { readTableFacts, runningPostmaster, withClient } from '../../../server/lib/postgres/index.ts';
import { createTestDatabase, type TestDatabase } from '../../helpers/postgres.ts';
import { openFolderWriter } from '../folder-writer.ts';

const CHUNKING = { fileChunkBytes: 1 << 20, relationChunkBytes: 65_536, packBytes: 16 << 20 };

let database: TestDatabase;
let folder: string;

beforeAll(async () => {
  database = await createTestDatabase();
  await sql`insert into schedules (name, kind, cron) values ('a', 'snapshot', '0 3 * * *')`.execute(
    database.db,
  );
});

afterAll(async () => {
  await database.drop();
});

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-source-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const scratchDir = () => join(folder, 'scratch', 'run-1');

async function takeCopy(change: Partial<PostgresSourceOptions> = {}) {
  const writers: ReturnType<typeof openFolderWriter>[] = [];
  const section = await copyPostgres(
    (facts) => {
      const writer = openFolderWriter(scratchClusterDir(scratchDir()), facts);
      writers.push(writer);
      return writer;
    },
    {
      address: database.adminAddress,
      chunking: CHUNKING,
      digests: true,
      now: () => systemClock.now(),
      signal: new AbortController().signal,
      ...change,
    },
  );
  return { section, facts: postgresFacts(section), entries: writers[0]?.entries ?? [] };
}

const start = (facts: Awaited<ReturnType<typeof takeCopy>>['facts']) =>
  startScratchDatabase({ scratchDir: scratchDir(), facts, timeoutMs: 60_000 });

const addRun = (kind: string) =>
  writeTransaction(database.db, async (tx) => {
    await sql`insert into runs (id, kind, state, cause, created_at)
      values (gen_random_uuid(), ${kind}, 'failed', 'person', now())`.execute(tx);
  });

describe('a copy is refused', () => {
  test('for a role that may not replicate, with what it lacks', async () => {
    await expect(takeCopy({ address: database.address })).rejects.toMatchObject({
      code: 'forbidden',
      hint: expect.stringContaining('REPLICATION') as string,
    });
  });

  test('with the reason of the target when that fails in mid-copy', async () => {
    const gone = new HoldfastError('unavailable', 'The target folder is not there', { hint: 'Mount it.' });
    const address = database.adminAddress;
    const options = { address, chunking: CHUNKING, digests: true, now: () => systemClock.now() };
    const taken = copyPostgres(
      (facts) => ({
        ...openFolderWriter(scratchClusterDir(scratchDir()), facts),
        addFile: () => Promise.reject(gone),
      }),
      { ...options, signal: new AbortController().signal },
    );

    await expect(taken).rejects.toBe(gone);
  });

  test('when it is cancelled, and leaves no connection and no slot', async () => {
    const controller = new AbortController();

    const taken = takeCopy({
      signal: controller.signal,
      step: (name) => name === 'base backup' && controller.abort(),
    });

    await expect(taken).rejects.toMatchObject({ code: 'cancelled' });
    await expect
      .poll(async () => {
        const { rows } = await sql<{
          n: string;
        }>`select (select count(*) from pg_replication_slots where slot_name like ${`holdfast_${process.pid}_%`}) +
          (select count(*) from pg_stat_activity
            where application_name = 'holdfast-snapshot' and datname = current_database()) as n`.execute(
          database.db,
        );
        return rows[0]?.n;
      })
      .toBe('0');
  });

  test(
    'when a writer keeps the gate open, and other writers still get through',
    { timeout: 20_000 },
    async () => {
      const writer = new pg.Client(clientConfig(database.address, 'test'));
      await writer.connect();
      await writer.query('begin');
      await writer.query('select pg_advisory_xact_lock_shared($1)', [WRITE_GATE]);

      const taken = takeCopy();
      await addRun('while-waiting');
      await writer.query('commit');

      expect((await taken).facts.restorePoint).toMatch(/^holdfast_/);
      await writer.end();
    },
  );
});

describe('a copy', () => {
  test(
    'recovers to exactly the rows that it counts, whatever was written meanwhile',
    { timeout: 120_000 },
    async () => {
      const stop = new AbortController();
      let written = 0;
      const writer = (async () => {
        while (!stop.signal.aborted) {
          await addRun('meanwhile');
          written += 1;
        }
      })();
      const { facts } = await takeCopy();
      stop.abort();
      await writer;

      const scratch = await start(facts);
      const restored = await withClient(scratch.address, 'test', async (client) => {
        await client.query('begin');
        return readTableFacts(client, { digests: true });
      });
      await wipeScratch(scratchDir());

      expect(written).toBeGreaterThan(0);
      expect(restored).toEqual(facts.tables);
      expect(facts.tables.find(({ table }) => table === 'public.schedules')).toMatchObject({ rows: '1' });
      expect(facts.tables.map(({ table }) => table)).not.toContain('public.user_email_index');
      expect(facts).toMatchObject({
        major: 17,
        encoding: 'UTF8',
        database: database.name,
        blockChecksums: true,
      });
      expect(facts.schemaVersion).toMatch(/^\d{4}-/);
      expect(existsSync(scratchDir())).toBe(false);
    },
  );

  test('has a digest that changes with one value, and not with the order of rows', async () => {
    const digestOf = (rows: string) =>
      withClient(database.adminAddress, 'test', async (client) => {
        await client.query('begin');
        await client.query(`create table zz as select * from (values ${rows}) as v (a, b)`);
        const facts = await readTableFacts(client, { digests: true });
        await client.query('rollback');
        return facts.find(({ table }) => table === 'public.zz');
      });

    const [one, turned, other] = [
      await digestOf("(1, 'x'), (2, null)"),
      await digestOf("(2, null), (1, 'x')"),
      await digestOf("(1, 'x'), (2, '')"),
    ];

    expect(one).toEqual(turned);
    expect(one?.rows).toBe(other?.rows);
    expect(one?.digest).not.toBe(other?.digest);
  });

  test('carries its WAL whole, and relations in chunks of their own size', async () => {
    const sizes = new Map<string, number>();
    const section = await copyPostgres(
      (facts) => {
        const writer = openFolderWriter(scratchClusterDir(scratchDir()), facts);
        return {
          ...writer,
          addFile: (entry, content, options) => {
            sizes.set(entry.path ?? '', options.chunkBytes);
            return writer.addFile(entry, content, options);
          },
        };
      },
      {
        address: database.adminAddress,
        chunking: CHUNKING,
        digests: false,
        now: () => systemClock.now(),
        signal: new AbortController().signal,
      },
    );
    const facts = postgresFacts(section);

    const segments = [...sizes.keys()].filter((path) => /^pg_wal\/[0-9A-F]{24}$/.test(path));
    expect(segments.length).toBeGreaterThan(0);
    for (const path of segments) {
      expect(readFileSync(join(scratchClusterDir(scratchDir()), path)).length).toBe(facts.segmentBytes);
    }
    const relation = [...sizes.keys()].find((path) => /^base\/\d+\/\d+$/.test(path)) ?? '';
    expect(sizes.get(relation)).toBe(CHUNKING.relationChunkBytes);
    expect(sizes.get('global/pg_control')).toBe(CHUNKING.fileChunkBytes);
    expect(sizes.has('backup_manifest')).toBe(true);
    expect(facts.tables[0]).not.toHaveProperty('digest');
  });
});

describe('a damaged copy', () => {
  test('whose WAL ends too early does not recover', { timeout: 60_000 }, async () => {
    const { facts } = await takeCopy();
    const wal = join(scratchClusterDir(scratchDir()), 'pg_wal');
    for (const name of readdirSync(wal).filter((entry) => /^[0-9A-F]{24}$/.test(entry)))
      truncateSync(join(wal, name), 0);

    await expect(start(facts)).rejects.toMatchObject({ code: 'integrity_failure' });
  });

  test('of which pg_control is missing does not start', { timeout: 60_000 }, async () => {
    const { facts } = await takeCopy();
    rmSync(join(scratchClusterDir(scratchDir()), 'global', 'pg_control'));

    await expect(start(facts)).rejects.toMatchObject({ code: 'integrity_failure' });
  });
});

test('scratch that a crash left is swept with the server that runs in it', { timeout: 60_000 }, async () => {
  const { facts } = await takeCopy();
  await start(facts);
  mkdirSync(join(folder, 'scratch', 'run-0'));
  appendFileSync(join(folder, 'scratch', 'run-0', 'rest'), 'x');
  const pid = runningPostmaster(scratchClusterDir(scratchDir()));

  const swept = await sweepScratch(folder);

  expect(pid).toBeGreaterThan(0);
  expect(swept).toBe(2);
  expect(readdirSync(join(folder, 'scratch'))).toEqual([]);
  expect(() => process.kill(pid ?? 0, 0)).toThrow();
  expect(await sweepScratch(join(folder, 'nowhere'))).toBe(0);
});
