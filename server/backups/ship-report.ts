/** Puts a signed report beside the backups that it speaks of, so that it outlives the appliance. Needs no key that opens them. */
import { openRepositoryWriteKeys, type KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import { withAdvisoryLock } from '../lib/lock.ts';
import type { TargetConfig } from './engine.ts';
import { refuseInQuarantine } from './quarantine.ts';
import { openRepository } from './repository/open-repository.ts';
import { openWriter } from './repository/writer.ts';
import { applianceId, cataloguePath } from './target-repository.ts';
import { getTarget } from './queries.ts';

interface ShipReportDeps {
  db: Database;
  clock: Clock;
  dataDir: string;
  /** Role `run`. */
  keys: KeyClient;
}

export interface ShippedReport {
  /** UUID. */
  id: string;
  kind: 'restore-test';
  /** The exact bytes that were signed. */
  bytes: Buffer;
  targetId: string;
  /** How the target is reached, by whom that was told already: a test with the kit may not open its secrets again. */
  config: TargetConfig;
}

/** @returns the object's name, or undefined while other work has the repository. @throws what the target or repository throws. */
export async function shipReport(deps: ShipReportDeps, report: ShippedReport): Promise<string | undefined> {
  await refuseInQuarantine(deps.db);
  const keys = await openRepositoryWriteKeys(deps.keys);
  const target = await getTarget(deps.db, report.targetId);
  const ship = async () => {
    const repository = await openRepository({
      target: report.config,
      keys,
      cataloguePath: cataloguePath(deps.dataDir, keys.repositoryId, target),
    });
    try {
      const writer = await openWriter(repository, {
        keys,
        holder: await applianceId(deps.db),
        clock: deps.clock,
      });
      const name = await writer.publishReport({
        id: report.id,
        kind: report.kind,
        createdAt: deps.clock.now().toISOString(),
        content: { report: report.bytes.toString('base64') },
      });
      await writer.release();
      return name;
    } finally {
      await repository.close();
    }
  };
  const alone = () => withAdvisoryLock(deps.db, 'targetWork', ship, { of: target.id, tryOnly: true });
  return withAdvisoryLock(deps.db, 'repositoryWork', alone, { tryOnly: true });
}
