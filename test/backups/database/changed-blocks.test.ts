/**
 * Copies of a database that go on from the one before: whatever the database went through meanwhile, the copy recovers to exactly the rows of
 * its restore point, with every index in order. The seed is printed; SLOW=1 lives longer.
 */
import { randomInt } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { openLastCopy, type KeptCopy } from '../../../server/backups/database/last-copy.ts';
import { copyPostgres, postgresFacts } from '../../../server/backups/database/postgres-source.ts';
import { startScratchDatabase } from '../../../server/backups/scratch-database.ts';
import { scratchClusterDir, wipeScratch } from '../../../server/lib/data-folder.ts';
import { WRITE_GATE } from '../../../server/lib/db.ts';
import {
  ADMIN_ROLE,
  checkIndexes,
  checkTables,
  ensureDatabase,
  prepareIntegrityChecks,
  readTableFacts,
  socketAddress,
  startPostgres,
  withClient,
  type PostgresServer,
} from '../../../server/lib/postgres/index.ts';
import { openFolderWriter } from '../folder-writer.ts';

const CHUNKING = { fileChunkBytes: 1 << 20, relationChunkBytes: 48 * 1024, packBytes: 16 << 20 };
const ROUNDS = process.env.SLOW === '1' ? 40 : 3;
const DATABASE = 'life';
const START = new Date('2026-03-01T03:00:00Z');

vi.setConfig({ testTimeout: ROUNDS * 60_000 + 60_000, hookTimeout: 60_000 });

let top: string;
let server: PostgresServer;
const settings = { max_wal_size: '64MB' };
const address = (database = DATABASE) => socketAddress(join(top, 'run', 'pg'), ADMIN_ROLE, database);
const sql = (...texts: string[]) =>
  withClient(address(), 'test', async (client) => {
    for (const text of texts) await client.query(text);
  });

const startServer = (change: Record<string, string> = {}) =>
  startPostgres({
    clusterDir: join(top, 'postgres'),
    socketDir: join(top, 'run', 'pg'),
    logFile: join(top, 'postgres.log'),
    settings: { ...settings, ...change },
  });

beforeAll(async () => {
  top = mkdtempSync(join(tmpdir(), 'holdfast-changed-'));
  chmodSync(top, 0o711);
  server = await startServer();
  await withClient(address('postgres'), 'test', (client) => ensureDatabase(client, DATABASE));
  await sql(
    'create extension amcheck',
    'create table rows (id int primary key, note text, n int)',
    'create index on rows (n)',
    `insert into rows select n, repeat(md5(n::text), 3), n % 97 from generate_series(1, 60000) n`,
    'create table cut (id int, note text)',
    `insert into cut select n, repeat('c', 500) from generate_series(1, 4000) n`,
  );
});

afterAll(async () => {
  await server.stop();
  rmSync(top, { recursive: true, force: true });
});

interface Life {
  chunks: Map<string, Buffer>;
  file: string;
  /** What the database would remember. */
  name: string | undefined;
  now: Date;
}

let life: Life;

beforeEach(() => {
  const folder = mkdtempSync(join(top, 'copies-'));
  life = { chunks: new Map(), file: join(folder, 'last-copy'), name: undefined, now: START };
});

const scratchDir = () => join(top, 'scratch', 'run-1');

interface Taken {
  facts: ReturnType<typeof postgresFacts>;
  bytesRead: number;
  copy: KeptCopy;
}

/** A copy into a folder, in chunks that the folders of all copies share; kept as the last one. */
async function takeCopy(): Promise<Taken> {
  await wipeScratch(scratchDir());
  const copy = openLastCopy(life.file, {
    name: life.name,
    generation: 1,
    chunkBytes: CHUNKING.relationChunkBytes,
    now: life.now,
  });
  try {
    const read: { bytes: number }[] = [];
    const section = await copyPostgres(
      (facts) => {
        const writer = openFolderWriter(scratchClusterDir(scratchDir()), facts, life.chunks);
        read.push(writer.read);
        return writer;
      },
      {
        ...{ address: address(), chunking: CHUNKING, digests: true, now: () => life.now },
        ...{ signal: new AbortController().signal, last: copy.last, notes: copy.notes },
      },
    );
    copy.keep();
    life.name = copy.name;
    return { facts: postgresFacts(section), bytesRead: read[0]?.bytes ?? 0, copy };
  } finally {
    copy.close();
  }
}

/** Starts the copy, and compares every row and every index. */
async function expectWhole({ facts }: Taken): Promise<void> {
  const scratch = await startScratchDatabase({ scratchDir: scratchDir(), facts, timeoutMs: 60_000 });
  await withClient(scratch.address, 'test', async (client) => {
    await prepareIntegrityChecks(client);
    const signal = new AbortController().signal;
    const tables = await checkTables(client, signal);
    const indexes = await checkIndexes(client, { thorough: true, signal });
    expect([...tables.problems, ...indexes.problems]).toEqual([]);
    expect(indexes.checked).toBeGreaterThan(50);
    await client.query('begin');
    expect(await readTableFacts(client, { digests: true })).toEqual(facts.tables);
  });
  await wipeScratch(scratchDir());
}

/** Deterministic: the same seed lives the same life. */
function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** What may happen to a database while it is copied. */
function ordinaryActs(random: (below: number) => number): (() => string[])[] {
  const from = () => random(70_000);
  return [
    () => [`update rows set n = n + 1 where id between ${from()} and ${from()}`],
    () => [`update rows set note = md5(random()::text) where id % 1009 = ${random(1009)}`],
    () => [`delete from rows where id between ${from()} and ${from() >> 3}`],
    () => {
      const first = 100_000 + random(1_000_000);
      return [
        `insert into rows select n, 'new', n % 13 from generate_series(${first}, ${first + 3000}) n on conflict do nothing`,
      ];
    },
    () => ['vacuum rows'],
    () => [`delete from cut where id > ${random(4000)}`, 'vacuum (truncate) cut'],
    () => [`insert into cut select n, repeat('d', 400) from generate_series(1, ${random(3000)}) n`],
    () => ['vacuum full rows'],
    () => ['reindex table rows'],
    () => ['cluster rows using rows_pkey'],
    () => ['create table if not exists kept as select * from rows', 'create index on kept (n)'],
    () => ['checkpoint'],
    () => ['drop database if exists side', 'create database side template template1 strategy file_copy'],
    () => ['drop database if exists side', 'create database side template template1 strategy wal_log'],
    () => ['select pg_switch_wal()'],
  ];
}

/** And between two copies: what a reader of one instant sees is gone at once. */
function allActs(random: (below: number) => number): (() => string[])[] {
  return [
    ...ordinaryActs(random),
    () => ['truncate cut'],
    () => ['drop table if exists kept'],
    () => ['create table side as select * from rows limit 5000', 'checkpoint', 'drop table side'],
  ];
}

async function act(client: pg.ClientBase, texts: readonly string[]): Promise<void> {
  for (const text of texts) {
    const isAlone = /^(vacuum|create database|drop database|cluster|select pg_switch)/.test(text);
    if (isAlone) await client.query(text);
    else {
      await client.query('begin');
      await client.query('select pg_advisory_xact_lock_shared($1)', [WRITE_GATE]);
      await client.query(text);
      await client.query('commit');
    }
  }
}

describe('a copy that goes on from the one before', () => {
  test(`is whole after whatever happened meanwhile, ${ROUNDS} times`, async () => {
    const seed = Number(process.env.SEED ?? randomInt(2 ** 31));
    process.stdout.write(`seed ${seed}\n`);
    const random = createRandom(seed);
    const [between, during] = [allActs(random), ordinaryActs(random)];
    const next = (possible: (() => string[])[]) => possible[random(possible.length)]?.() ?? [];
    await expectWhole(await takeCopy());
    for (let round = 0; round < ROUNDS; round++) {
      await withClient(address(), 'test', async (client) => {
        for (let count = 1 + random(6); count > 0; count--) await act(client, next(between));
      });
      const stop = new AbortController();
      const meanwhile = withClient(address(), 'test', async (client) => {
        while (!stop.signal.aborted) await act(client, next(during));
      });
      const taken = await takeCopy().finally(() => {
        stop.abort();
      });
      await meanwhile;

      expect(taken.facts.changedSince).toBeDefined();
      await expectWhole(taken);
    }
  });

  test('reads what changed, and not the rest', async () => {
    const first = await takeCopy();
    await sql("update rows set note = 'x' where id = 3", 'checkpoint');
    const second = await takeCopy();
    const label = readFileSync(join(scratchClusterDir(scratchDir()), 'backup_label'), 'latin1');

    expect(first.facts.changedSince).toBeUndefined();
    expect(second.facts.changedSince).toBe(first.facts.startLsn);
    // One segment of the log, the maps of free space, and what else is no relation.
    expect(second.bytesRead).toBeLessThan(first.bytesRead / 2);
    expect(label).toContain('START WAL LOCATION');
    expect(label).not.toContain('INCREMENTAL');
    await expectWhole(second);
  });

  test('takes a relation that was cut and grew again anew', async () => {
    await takeCopy();
    await sql(
      'truncate cut',
      "insert into cut select n, repeat('e', 500) from generate_series(1, 4000) n",
      'checkpoint',
    );
    await takeCopy();
    await sql('delete from cut where id > 100', 'vacuum (truncate) cut', 'checkpoint');

    await expectWhole(await takeCopy());
  });
});

describe('everything is read again', () => {
  const expectAll = async () => {
    expect((await takeCopy()).facts.changedSince).toBeUndefined();
  };

  test('when the database does not remember the last copy, or that is a week old', async () => {
    await takeCopy();
    const { name } = life;
    life.name = undefined;
    await expectAll();
    life.name = name;
    await expectAll();
    life.now = new Date(START.getTime() + 7 * 86_400_000);
    await expectAll();
    life.now = START;
    await expectAll();
  });

  test('when the summaries of the log are gone', async () => {
    await takeCopy();
    await server.stop();
    const summaries = join(top, 'postgres', 'pg_wal', 'summaries');
    for (const name of readdirSync(summaries)) rmSync(join(summaries, name));
    server = await startServer();
    await sql("update rows set note = 'y' where id = 4", 'checkpoint');
    // They begin anew where the log begins that is still there: after the last copy, once that is gone.
    await expectAll();
  });

  test('where pages may be torn, or nothing is summarized', async () => {
    await takeCopy();
    for (const change of [{ full_page_writes: 'off' }, { summarize_wal: 'off' }]) {
      await server.stop();
      server = await startServer(change);
      await expectAll();
    }
    await server.stop();
    server = await startServer();
  });
});

test('a row that is not what was written is read from the database', async () => {
  await takeCopy();
  const db = new DatabaseSync(life.file);
  db.exec("update relations set digests = zeroblob(length(digests)) where path like 'base/%'");
  db.close();

  const taken = await takeCopy();

  expect(taken.facts.changedSince).toBeDefined();
  await expectWhole(taken);
});

test('a place that cannot be written to ends no copy, and everything is read the next time', async () => {
  life.file = join(life.file, 'below', 'a', 'file');
  writeFileSync(join(life.file, '..', '..', '..'), '');

  const copy = openLastCopy(life.file, { name: undefined, generation: 1, chunkBytes: 8192, now: START });
  copy.notes.relation('base/1/2', { size: 0, ids: Buffer.alloc(0), digests: Buffer.alloc(0) });
  copy.notes.base({ timeline: 1, startLsn: '0/1' }, Buffer.from('{}'), 'whole');

  expect(() => {
    copy.keep();
  }).toThrow();
  copy.close();
});

test('what was noted and not kept is gone', () => {
  const copy = openLastCopy(life.file, { name: undefined, generation: 1, chunkBytes: 8192, now: START });
  copy.notes.base({ timeline: 1, startLsn: '0/1' }, Buffer.from('{}'), 'whole');
  copy.close();

  expect(existsSync(life.file)).toBe(false);
  expect(existsSync(`${life.file}.new`)).toBe(false);
});
