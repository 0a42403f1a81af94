/** An audit log with a real database and a real keyd, the hands of a database superuser, and the verifier. */
import { createHash } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { createLogVerifier, exportLog, makeCheckpoint } from '../../server/audit/index.ts';
import type { VerifyOptions, VerifyReport } from '../../server/audit/index.ts';
import { leafLine, stubOfRow } from '../../server/audit/entry-leaf.ts';
import type { Checkpoint, CheckpointDeps } from '../../server/audit/checkpoints.ts';
import { trustInRoot, type KeyClient } from '../../server/keys/index.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import {
  claimWithKit,
  makeKeydPlace,
  makeMovedClock,
  type KeydPlace,
  type MovedClock,
} from '../keys/keyd-place.ts';
import { createTestDatabase, type TestDatabase } from '../helpers/postgres.ts';
import { writeEntries, writeEntry } from './log-place.ts';

export interface SignedLog {
  database: TestDatabase;
  place: KeydPlace;
  keys: KeyClient;
  clock: MovedClock;
  deps: CheckpointDeps;
  kit: { repositoryId: string; trustRoot: Buffer };
  write(count: number): Promise<void>;
  writeOne(): Promise<string>;
  sign(): Promise<Checkpoint>;
  /** With triggers off, as a superuser of the database may. */
  tamper(sql: string): Promise<void>;
  /** Makes leaf hashes, places and tiles fit what the entries say now, as a careful superuser would. */
  rebuildTree(): Promise<void>;
  export(): Promise<string[]>;
  verify(lines: readonly string[], options?: Partial<VerifyOptions>): VerifyReport;
  /** Exports and verifies. */
  check(options?: Partial<VerifyOptions>): Promise<VerifyReport>;
}

/** For one test, which it ends with. */
export async function makeSignedLog(): Promise<SignedLog> {
  const [database, place] = await Promise.all([createTestDatabase(), makeKeydPlace()]);
  onTestFinished(() => database.drop());
  const keys = await place.connect('server');
  const kit = await claimWithKit(keys);
  const clock = makeMovedClock();
  const { db } = database;
  const deps = { db, clock, keys };
  const tamper = (sql: string) =>
    withClient(database.adminAddress, 'superuser', async (client) => {
      await client.query(`set session_replication_role = 'replica'; ${sql}`);
    });
  const exportLines = async () => {
    const lines: string[] = [];
    for await (const line of exportLog(deps)) lines.push(line);
    return lines;
  };
  const verify = (lines: readonly string[], options: Partial<VerifyOptions> = {}) => {
    const verifier = createLogVerifier({ trust: trustInRoot(kit.trustRoot, kit.repositoryId), ...options });
    for (const line of lines) verifier.line(Buffer.from(line));
    return verifier.end();
  };
  return {
    ...{ database, place, keys, clock, deps, kit, tamper, verify },
    write: (count) => writeEntries(db, count),
    writeOne: () => writeEntry(db, {}, { clock }),
    sign: () => makeCheckpoint(deps),
    rebuildTree: () => rebuildTree(database, tamper),
    export: exportLines,
    check: async (options) => verify(await exportLines(), options),
  };
}

/** In the order of places, as far as they are there; entries without one are left out. */
async function rebuildTree({ db }: TestDatabase, tamper: (sql: string) => Promise<void>): Promise<void> {
  const rows = await db
    .selectFrom('audit_leaves')
    .innerJoin('audit_entries', 'audit_entries.number', 'audit_leaves.entry_number')
    .selectAll('audit_entries')
    .orderBy('audit_leaves.position')
    .execute();
  const hashes = rows.map((row) =>
    createHash('sha256')
      .update(Buffer.of(0))
      .update(leafLine(stubOfRow(row)))
      .digest(),
  );
  const values = rows.map((row, at) => `(${at}, ${row.number}, '\\x${hashes[at]?.toString('hex')}')`);
  await tamper(`
    delete from audit_leaves; delete from audit_tree_nodes;
    insert into audit_leaves (position, entry_number, hash) values ${values.join(',')}`);
  for (let tile = 0; (tile + 1) * 256 <= hashes.length; tile += 1) {
    let level = hashes.slice(tile * 256, (tile + 1) * 256);
    while (level.length > 1) {
      const below = level;
      level = Array.from({ length: below.length / 2 }, (_, at) =>
        createHash('sha256')
          .update(Buffer.concat([Buffer.of(1), ...below.slice(2 * at, 2 * at + 2)]))
          .digest(),
      );
    }
    await tamper(`insert into audit_tree_nodes values (8, ${tile}, '\\x${level[0]?.toString('hex')}')`);
  }
}
