/** Every named durable step of audit log, upload, import, snapshot, restore, recovery and keyring is one at which some test kills the process. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '..', '..');

const PATHS =
  /^(audit|workspaces|backups|target|snapshot|restore-test|recover|keyring|appliance\.(rekey|write-only))\./;

/** Tests that kill at each step that the work reaches, without naming it. */
const EVERY_STEP_REACHED = [
  // repository-crash.test.ts: snapshot, forget and prune on a repository
  /^backups\.(index|keyring|snapshot|head|prune|writer)\./,
  /^target\.object\./,
  // keyring-crash.test.ts
  /^keyring\./,
];

/** Steps that no test kills at, each with its reason. */
const NOT_KILLED: Record<string, string> = {
  'recover.log.fetched':
    'more files of the restored database than at recover.database.restored, at which a process is killed; nothing else',
  'restore-test.report.recorded':
    'the test has ended and is recorded; only the copy of its report on the target is missing',
  'workspaces.batch.committed':
    'the same transaction as that of an import, at whose commit a process is killed',
};

function readAll(folder: string): string {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && entry.name !== 'crash-points.test.ts')
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'))
    .join('\n');
}

test('each crash point is named by a test, or reached by one that kills at every step', () => {
  const points = [...readAll('server').matchAll(/crashPoint\('([^']+)'\)/g)]
    .map((match) => match[1] ?? '')
    .filter((name) => PATHS.test(name));
  const tests = readAll('test');

  // A test may build the name from its last two parts.
  const isNamed = (point: string) =>
    [point, point.split('.').slice(1).join('.')].some((name) => tests.includes(name));
  const missing = points.filter(
    (point) =>
      !isNamed(point) && !(point in NOT_KILLED) && !EVERY_STEP_REACHED.some((rule) => rule.test(point)),
  );

  expect(points.length).toBeGreaterThan(25);
  expect(missing).toEqual([]);
});
