/** The database: restored from its chunks, recovered to the restore point, and compared with what the snapshot says of it. */
import { startScratchDatabase, wordsOfPoint, type ChosenPoint } from '../../backups/index.ts';
import { scratchClusterDir } from '../../lib/data-folder.ts';
import {
  beginReadOnly,
  checkIndexes,
  checkTables,
  prepareIntegrityChecks,
  readReached,
  readTableFacts,
  withClient,
  type IntegrityReport,
  type TableFacts,
} from '../../lib/postgres/index.ts';
import { need, type Check, type Finding, type Scene } from '../scene.ts';

/** Recovery applies the WAL of one base backup; longer than this is a failure, not patience. */
const RECOVERY_TIMEOUT_MS = 30 * 60_000;
const NAME = 'holdfast restore test';

export const restoreDatabaseCheck: Check = {
  id: 'database-restore',
  label: 'Database files decrypted, hashed and restored to scratch',
  async run(scene) {
    const reader = need(scene.reader, 'the repository');
    const section = need(scene.databaseSection, 'the snapshot');
    const report = await reader.restoreSection(section, scratchClusterDir(scene.scratchDir), {
      signal: scene.signal,
      progress: (progress) => {
        scene.progress(progress.bytesDone, section.sizeBytes);
      },
    });
    scene.databaseRestored = report.problemCount === 0;
    return {
      passed: scene.databaseRestored,
      expected: `${section.fileCount} files, ${section.sizeBytes} bytes`,
      found: `${report.files} files, ${report.bytes} bytes; not restored: ${report.problemCount}`,
    };
  },
};

export const recoverDatabaseCheck: Check = {
  id: 'database-recovery',
  label: "PostgreSQL starts and recovers to the snapshot's restore point, or to the chosen moment",
  async run(scene) {
    const facts = need(scene.facts, 'the snapshot');
    need(scene.databaseRestored === true ? true : undefined, 'the restored database');
    const { scratchDir } = scene;
    const point = scene.chosen === undefined ? undefined : need(scene.point, 'the log up to the moment');
    const until = point?.until;
    const scratch = await startScratchDatabase({ scratchDir, facts, until, timeoutMs: RECOVERY_TIMEOUT_MS });
    scene.stopDatabase = () => scratch.stop();
    scene.database = scratch.address;
    if (point !== undefined) {
      point.reachedAt = await readReached(scratch.address);
      const asked = Object.values(wordsOfPoint(point.opened.chosen)).join('');
      return {
        // A commit after the chosen time would be more than what was asked for.
        passed: point.reachedAt === undefined || isWithin(point.reachedAt, point.opened.chosen),
        expected: `recovered to ${asked}`,
        found: `recovered; last commit ${point.reachedAt?.toISOString() ?? 'that of the snapshot'}`,
      };
    }
    return {
      passed: true,
      expected: `restore point ${facts.restorePoint} at ${facts.endLsn}`,
      found: `recovered, system ${facts.systemId}`,
    };
  },
};

function isWithin(reachedAt: Date, chosen: ChosenPoint): boolean {
  return chosen.kind === 'lsn' || reachedAt <= chosen.at;
}

export const indexCheck: Check = {
  id: 'database-indexes',
  label: 'Every index is in order (amcheck)',
  async run(scene) {
    const { signal, mode } = scene;
    const report = await inDatabase(scene, async (client) => {
      await prepareIntegrityChecks(client);
      return checkIndexes(client, { thorough: mode === 'full', signal });
    });
    return describeIntegrity(report, 'indexes');
  },
};

export const heapCheck: Check = {
  id: 'database-tables',
  label: "Every table's pages are in order (amcheck)",
  async run(scene) {
    const report = await inDatabase(scene, async (client) => {
      await prepareIntegrityChecks(client);
      return checkTables(client, scene.signal);
    });
    return describeIntegrity(report, 'tables');
  },
};

function describeIntegrity(report: IntegrityReport, what: string): Finding {
  return {
    passed: report.problemCount === 0 && report.checked > 0,
    expected: 'no problem',
    found: [`${report.checked} ${what}, ${report.problemCount} problems`, ...report.problems].join('; '),
  };
}

export const rowsCheck: Check = {
  id: 'database-rows',
  label: "Every table's rows are those that the snapshot counted; at a chosen moment, all can be read",
  async run(scene) {
    const facts = need(scene.facts, 'the snapshot');
    const digests = scene.mode === 'full' && facts.digests;
    const found = await inDatabase(scene, async (client) => {
      await beginReadOnly(client);
      return readTableFacts(client, { digests, signal: scene.signal });
    });
    // At a later moment other rows are right; none of the snapshot's tables may be gone all the same.
    const isLater = scene.chosen !== undefined;
    const wrong = compareTables(facts.tables, found, digests).filter(
      (line) => !isLater || line.endsWith(' is missing'),
    );
    const rows = found.reduce((sum, table) => sum + BigInt(table.rows), 0n);
    return {
      passed: wrong.length === 0,
      expected: isLater
        ? `${facts.tables.length} tables, every row readable`
        : `${facts.tables.length} tables${digests ? ' with equal digests' : ', equal counts'}`,
      found: [`${found.length} tables, ${rows} rows, ${wrong.length} different`, ...wrong.slice(0, 20)].join(
        '; ',
      ),
    };
  },
};

/** One line for each table that differs. Pure. */
export function compareTables(
  expected: readonly TableFacts[],
  found: readonly TableFacts[],
  digests: boolean,
): string[] {
  const byName = new Map(found.map((table) => [table.table, table]));
  const wrong: string[] = [];
  for (const table of expected) {
    const other = byName.get(table.table);
    byName.delete(table.table);
    if (other === undefined) wrong.push(`${table.table} is missing`);
    else if (other.rows !== table.rows)
      wrong.push(`${table.table}: ${table.rows} rows expected, ${other.rows} found`);
    else if (digests && other.digest !== table.digest)
      wrong.push(`${table.table}: equal count, other content`);
  }
  for (const name of byName.keys()) wrong.push(`${name} is not in the snapshot's list`);
  return wrong;
}

/** Runs `work` on the recovered database. @throws GroundMissing */
export function inDatabase<T>(scene: Scene, work: Parameters<typeof withClient<T>>[2]): Promise<T> {
  return withClient(need(scene.database, 'the recovered database'), NAME, work);
}
