/** Writes server/lib/tables.ts from a freshly migrated schema. Needs PostgreSQL's address in HOLDFAST_TEST_DATABASE_URL. */
import { join } from 'node:path';
import { openDatabase } from '../server/lib/db.ts';
import { migrate } from '../server/lib/migrate.ts';
import { runProcess } from '../server/lib/spawn.ts';
import { readSecretVariable } from '../server/lib/config.ts';

const url = readSecretVariable('HOLDFAST_TEST_DATABASE_URL');
if (url === undefined) throw new Error('Set HOLDFAST_TEST_DATABASE_URL to an empty database');
const db = openDatabase({ kind: 'url', url }, { name: 'gen-tables' });
await migrate(db);
await db.destroy();

const root = join(import.meta.dirname, '..');
const result = await runProcess(
  join(root, 'node_modules/.bin/kysely-codegen'),
  ['--dialect', 'postgres', '--url', url, '--out-file', join(root, 'server/lib/tables.ts')],
  { timeoutMs: 60_000, cwd: root },
);
if (result.exitCode !== 0) throw new Error(result.stderr);
process.stdout.write('server/lib/tables.ts written\n');
