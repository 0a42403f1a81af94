/**
 * A large database beside pgBackRest, on the same running cluster in the same minutes: `node scripts/bench/database.ts
 * [--pgbackrest FILE] [--rows N] [--folder DIR]`. The cluster is the embedded one of an appliance; the tables are those of pgbench, in
 * a database of their own. pgBackRest compresses with zstd, encrypts, keeps whole files together and changed blocks apart, with two
 * processes, and archives nothing. Holdfast's times are those of the whole run: reading back, the files and its own tables included.
 *
 * PostgreSQL 17 needs pgBackRest 2.54 or later; Debian 13 has it.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { chooseSnapshot } from '../../server/cli/choose-snapshot.ts';
import { openControl, type ControlClient } from '../../server/cli/control-client.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { ADMIN_ROLE, socketAddress, withClient } from '../../server/lib/postgres/index.ts';
import type { Run } from '../../server/lib/run-schema.ts';
import type { RestoreTest } from '../../server/restore-tests/schema.ts';
import { measure } from './measure.ts';
import { finishRun, serve, setUp, stop } from './served.ts';

/** At this many rows tables and indexes of pgbench take 2 GB: 130 times its scale of one. */
const DEFAULT_ROWS = 13_000_000;
const AIMS = { backup: 0.8, restore: 0.8, increment: 0.5 } as const;
type Work = keyof typeof AIMS;

const { values: options } = parseArgs({
  options: {
    pgbackrest: { type: 'string', default: 'pgbackrest' },
    rows: { type: 'string', default: String(DEFAULT_ROWS) },
    folder: { type: 'string', default: tmpdir() },
    json: { type: 'boolean', default: false },
  },
});
const rows = Number(options.rows);
const top = mkdtempSync(join(options.folder, 'holdfast-bench-'));
const dataDir = join(top, 'data');
const say = (text: string): void => void process.stderr.write(`${text}\n`);

interface Line {
  work: Work;
  peer: 'pgbackrest';
  holdfast: number;
  peerValue: number;
  unit: 's';
  ratio: number;
  aim: number;
  met: boolean;
}

try {
  const lines = await compare();
  if (options.json) process.stdout.write(`${JSON.stringify(lines, undefined, 2)}\n`);
  else print(lines);
} finally {
  rmSync(top, { recursive: true, force: true });
}

async function compare(): Promise<Line[]> {
  const first = await serve(process.execPath, dataDir);
  await setUp(process.execPath, top, dataDir).finally(() => stop(first.child));
  const { child } = await serve(process.execPath, dataDir);
  try {
    const control = openControl(dataDir);
    say(`filling ${rows} rows`);
    const bytes = await fill();
    say(`the cluster has ${(bytes / 1e9).toFixed(2)} GB; load ${loadNow()}`);
    const peer = await openPgBackRest();
    const lines: Line[] = [];
    const add = (work: Work, holdfast: number, peerValue: number): void => {
      const ratio = holdfast / peerValue;
      const aim = AIMS[work];
      lines.push({ work, peer: 'pgbackrest', holdfast, peerValue, unit: 's', ratio, aim, met: ratio <= aim });
      say(`${work}: ${holdfast.toFixed(1)} s, pgBackRest ${peerValue.toFixed(1)} s, load ${loadNow()}`);
    };
    add('backup', await snapshot(control), await peer.backup('full'));
    await sql(
      'bench',
      `update pgbench_accounts set abalance = abalance + 1 where aid <= ${Math.ceil(rows / 100)}`,
    );
    await sql('bench', 'checkpoint');
    // The other way round, so that neither always finds the cluster in the page cache.
    const peerIncrement = await peer.backup('incr');
    add('increment', await snapshot(control), peerIncrement);
    add('restore', await restore(control), await peer.restore());
    return lines;
  } finally {
    await stop(child);
  }
}

function loadNow(): string {
  return (loadavg()[0] ?? 0).toFixed(1);
}

async function sql(database: string, text: string): Promise<unknown> {
  const address = socketAddress(dataPaths(dataDir).databaseSocket, ADMIN_ROLE, database);
  const result = await withClient(address, 'bench', (client) =>
    client.query<Record<string, unknown>>({ text, rowMode: 'array' } as never),
  );
  return result.rows[0];
}

/** The tables of pgbench, as `pgbench -i` fills them. @returns bytes of the cluster */
async function fill(): Promise<number> {
  await sql('postgres', 'create database bench');
  for (const text of [
    'create table pgbench_accounts (aid int not null, bid int, abalance int, filler char(84)) with (fillfactor = 100)',
    'create table pgbench_branches (bid int not null primary key, bbalance int, filler char(88))',
    'create table pgbench_tellers (tid int not null primary key, bid int, tbalance int, filler char(84))',
    `insert into pgbench_accounts select n, (n - 1) / 100000 + 1, 0, '' from generate_series(1, ${rows}) n`,
    `insert into pgbench_branches select n, 0, '' from generate_series(1, ${Math.ceil(rows / 100_000)}) n`,
    `insert into pgbench_tellers select n, (n - 1) / 10 + 1, 0, '' from generate_series(1, ${Math.ceil(rows / 10_000)}) n`,
    'alter table pgbench_accounts add primary key (aid)',
    'vacuum analyze',
    'checkpoint',
  ])
    await sql('bench', text);
  const [bytes] = (await sql('bench', 'select sum(pg_database_size(oid))::bigint from pg_database')) as [
    string,
  ];
  return Number(bytes);
}

/** @returns seconds from its start to its end */
async function snapshot(control: ControlClient): Promise<number> {
  const run = await finishRun(control, control.send<Run>('POST', '/snapshots'));
  return (Date.parse(run.finishedAt ?? '') - Date.parse(run.startedAt ?? '')) / 1000;
}

/** A restore test restores, decrypts and hashes the database's files into scratch before it looks at them. @returns seconds of that part */
async function restore(control: ControlClient): Promise<number> {
  const chosen = { ...(await chooseSnapshot(control, undefined)), mode: 'quick', keySource: 'test-identity' };
  const { id, runId } = await control.send<RestoreTest>('POST', '/restore-tests', chosen);
  await finishRun(control, Promise.resolve({ id: runId }));
  const test = await control.get<RestoreTest>(`/restore-tests/${id}`);
  const check = test.checks.find((one) => one.id === 'database-restore');
  if (check?.state !== 'passed') throw new Error(`The restore ${check?.state ?? 'did not run'}`);
  return check.durationMs / 1000;
}

interface Peer {
  /** @returns seconds */
  backup(type: 'full' | 'incr'): Promise<number>;
  restore(): Promise<number>;
}

async function openPgBackRest(): Promise<Peer> {
  const { postgres, databaseSocket } = dataPaths(dataDir);
  const place = join(top, 'pgbackrest');
  const to = join(place, 'restored');
  for (const name of ['repository', 'log', 'lock', 'spool', 'restored'])
    mkdirSync(join(place, name), { recursive: true, mode: 0o700 });
  const file = join(place, 'pgbackrest.conf');
  writeFileSync(
    file,
    [
      '[global]',
      `repo1-path=${join(place, 'repository')}`,
      ...['repo1-bundle=y', 'repo1-block=y', 'repo1-retention-full=9'],
      ...['repo1-cipher-type=aes-256-cbc', 'repo1-cipher-pass=only for measuring'],
      ...['compress-type=zst', 'compress-level=3', 'process-max=2', 'start-fast=y'],
      ...['archive-check=n', 'log-level-console=warn', 'log-level-file=off'],
      ...[
        `lock-path=${join(place, 'lock')}`,
        `log-path=${join(place, 'log')}`,
        `spool-path=${join(place, 'spool')}`,
      ],
      '[bench]',
      ...[`pg1-path=${postgres}`, `pg1-socket-path=${databaseSocket}`, `pg1-user=${ADMIN_ROLE}`],
      ...['pg1-database=postgres', ''],
    ].join('\n'),
    { mode: 0o600 },
  );
  const run = async (...args: string[]): Promise<number> =>
    (await measure(options.pgbackrest, ['--config', file, '--stanza', 'bench', ...args])).seconds;
  await run('stanza-create', '--no-online');
  return {
    backup: (type) => run('backup', `--type=${type}`),
    restore: () => run('restore', `--pg1-path=${to}`, '--type=immediate'),
  };
}

function print(lines: readonly Line[]): void {
  process.stdout.write('| work | Holdfast | pgBackRest | ratio | aim |\n|---|---|---|---|---|\n');
  for (const { work, holdfast, peerValue, ratio, aim, met } of lines)
    process.stdout.write(
      `| ${work} | ${holdfast.toFixed(1)} s | ${peerValue.toFixed(1)} s | ${ratio.toFixed(2)} | ≤ ${aim}${met ? '' : ', **not met**'} |\n`,
    );
}
