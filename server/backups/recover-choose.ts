/** What a recovery goes back to: the repository as the kit opens it, and a snapshot or moment in it, each agreed to by a person. */
import { HoldfastError } from '../lib/errors.ts';
import type { SnapshotRecord } from './engine.ts';
import { findReadableSnapshot } from './find-readable-snapshot.ts';
import type { RecoverOptions, RecoveryQuestion } from './recover-plan.ts';
import { requireFit } from './schema-fit.ts';
import { openRepository, type Repository } from './repository/open-repository.ts';
import { cataloguePath, FIRST_TARGET } from './target-repository.ts';
import { openPoint, wordsOfPoint, type OpenedPoint } from './wal/open-point.ts';
import type { ChosenPoint } from './wal/plan-point.ts';

export async function openWithKit(options: RecoverOptions): Promise<Repository> {
  const { kit, target } = options;
  const repository = await openRepository({
    target,
    keys: {
      identity: kit.ageIdentity,
      repositoryId: kit.repositoryId,
      trustRoot: Buffer.from(kit.trustRoot, 'base64'),
    },
    cataloguePath: cataloguePath(options.dataDir, kit.repositoryId, FIRST_TARGET),
    ...(options.knownHead === undefined ? {} : { knownHead: options.knownHead }),
  });
  try {
    for (const warning of repository.warnings.filter((one) => one.confirm)) {
      await requireYes(options, { kind: 'warning', warning }, warning.message);
    }
    return repository;
  } catch (error) {
    await repository.close();
    throw error;
  }
}

async function requireYes(options: RecoverOptions, question: RecoveryQuestion, why: string): Promise<void> {
  if (await options.confirm(question)) return;
  throw new HoldfastError('cancelled', `Recovery was stopped: ${why}`, { hint: 'Nothing was recovered.' });
}

export async function chooseSnapshot(
  repository: Repository,
  options: RecoverOptions,
): Promise<SnapshotRecord> {
  const snapshot = await findReadableSnapshot(
    repository,
    options.snapshot ?? 'latest',
    (numbers) => `go back to an older snapshot with --snapshot: ${numbers}`,
  );
  await requireFit(snapshot);
  const { head } = repository;
  await requireYes(
    options,
    {
      kind: 'snapshot',
      snapshot,
      headNumber: head?.number ?? 0,
      headAt: head?.createdAt ?? snapshot.takenAt,
      ageMs: options.clock.now().getTime() - Date.parse(snapshot.takenAt),
    },
    'the snapshot was declined',
  );
  await requireOldOff(options);
  return snapshot;
}

/** Beside another that may still run, nothing is taken over yet: neither the repository nor anybody outside hears of this one. */
async function requireOldOff(options: RecoverOptions): Promise<void> {
  if (options.beside === true) return;
  await requireYes(options, { kind: 'old-machine-off' }, 'the old machine must be off first');
}

/** Refused before anything is fetched, and agreed to as a snapshot is. @throws HoldfastError `not_found`, `cancelled` */
export async function choosePoint(
  repository: Repository,
  options: RecoverOptions,
  chosen: ChosenPoint,
): Promise<OpenedPoint> {
  const point = await openPoint(repository, chosen);
  const { snapshot, plan } = point;
  await requireFit(snapshot);
  await requireYes(
    options,
    { kind: 'point', point: wordsOfPoint(chosen), snapshot, clockWentBack: plan.clockWentBack },
    'the moment was declined',
  );
  await requireOldOff(options);
  return point;
}
