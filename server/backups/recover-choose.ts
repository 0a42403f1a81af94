/** What a recovery goes back to: the repository as the kit opens it, and one of its snapshots, each agreed to by a person. */
import { HoldfastError } from '../lib/errors.ts';
import type { SnapshotRecord } from './engine.ts';
import type { RecoverOptions, RecoveryQuestion } from './recover-plan.ts';
import { openRepository, type Repository } from './repository/open-repository.ts';
import { cataloguePath } from './target-repository.ts';

export async function openWithKit(options: RecoverOptions): Promise<Repository> {
  const { kit, target } = options;
  const repository = await openRepository({
    target,
    keys: {
      identity: kit.ageIdentity,
      repositoryId: kit.repositoryId,
      trustRoot: Buffer.from(kit.trustRoot, 'base64'),
    },
    cataloguePath: cataloguePath(options.dataDir, kit.repositoryId),
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
  const snapshot = await findWanted(repository, options.snapshot ?? 'latest');
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
  await requireYes(options, { kind: 'old-machine-off' }, 'the old machine must be off first');
  return snapshot;
}

/** An older snapshot may still be whole where the wanted one is not: that is for a person to choose. */
async function findWanted(repository: Repository, wanted: string): Promise<SnapshotRecord> {
  try {
    return await repository.findSnapshot(wanted);
  } catch (error) {
    const codes = ['not_found', 'integrity_failure', 'wrong_key'];
    if (!(error instanceof HoldfastError) || !codes.includes(error.code)) throw error;
    const { snapshots } = await repository.snapshots();
    const numbers = snapshots.map((one) => String(one.number)).reverse();
    const isListed = wanted === 'latest' && repository.snapshotReferences.length > 0;
    throw new HoldfastError(
      isListed ? 'integrity_failure' : error.code,
      isListed ? 'The newest snapshot is missing or damaged on this target' : error.message,
      {
        hint:
          numbers.length === 0
            ? 'No snapshot here can be read. Recover from another target.'
            : `Recover from another target, or go back to an older snapshot with --snapshot: ${numbers.slice(0, 10).join(', ')} can be read.`,
        cause: error,
      },
    );
  }
}
