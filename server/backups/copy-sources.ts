/** The targets that a run copies from: opened when they are first needed, read only, closed at the end. */
import { openRepositoryWriteKeys } from '../keys/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { RunContext } from '../lib/runs.ts';
import { viewCatalogueFile } from './catalogue/open-catalogue.ts';
import { noteSourceFailed } from './copy-problems.ts';
import type { Target } from './engine.ts';
import { openTargetConfig } from './target-config.ts';
import {
  cataloguePath,
  leaseCatalogue,
  takeTestIdentities,
  type RepositoryRunDeps,
} from './target-repository.ts';
import { openRepository } from './repository/open-repository.ts';
import type { CopySource } from './repository/plan-copy.ts';
import { asSource, askSource, SourceFailed } from './repository/source-failed.ts';
import { openTarget } from './targets/open-target.ts';
import type { TargetRow } from './queries.ts';

interface OpenSource extends CopySource {
  close(): Promise<void>;
}

export interface CopySources {
  /** @throws SourceFailed for one that cannot be read now; the same each time. */
  open(row: TargetRow): Promise<CopySource>;
  /** It failed in the middle: it is asked for nothing more. */
  giveUp(row: TargetRow, failure: SourceFailed): Promise<void>;
  close(): Promise<void>;
}

export function createCopySources(deps: RepositoryRunDeps, run: RunContext): CopySources {
  const opened = new Map<string, OpenSource | SourceFailed>();
  const giveUp = async (row: TargetRow, failure: SourceFailed): Promise<void> => {
    const before = opened.get(row.id);
    if (before === failure) return;
    opened.set(row.id, failure);
    if (before !== undefined && !(before instanceof SourceFailed)) await before.close();
    await run.log('warn', failure.message);
    await noteSourceFailed(deps, failure);
  };
  return {
    async open(row) {
      let source = opened.get(row.id);
      if (source === undefined) {
        try {
          source = await openSource(deps, run, row);
          opened.set(row.id, source);
        } catch (error) {
          run.signal.throwIfAborted();
          source = error instanceof SourceFailed ? error : new SourceFailed(row, error);
          await giveUp(row, source);
        }
      }
      if (source instanceof SourceFailed) throw source;
      return source;
    },
    giveUp,
    async close() {
      for (const source of opened.values()) if (!(source instanceof SourceFailed)) await source.close();
      opened.clear();
    },
  };
}

/** Another target than the one that is written to. @throws SourceFailed, then and later, when it is what fails */
export async function openForReading(deps: RepositoryRunDeps, row: TargetRow): Promise<Target> {
  return askSource(row, async () => asSource(await openTarget(await openTargetConfig(deps, row)), row));
}

/** By the catalogue that the appliance has of it, beside whatever writes there. Where that was lost, by a new one, which takes a key. */
async function openSource(deps: RepositoryRunDeps, run: RunContext, row: TargetRow): Promise<OpenSource> {
  const { repositoryId, trustRoot } = await openRepositoryWriteKeys(deps.keys);
  const target = await openForReading(deps, row);
  const viewed = viewCatalogueFile(cataloguePath(deps.dataDir, repositoryId, row));
  if (viewed !== undefined) {
    const close = async () => {
      viewed.close();
      await target.close();
    };
    return { name: row.name, target, catalogue: viewed.catalogue, close };
  }
  try {
    return await rebuildSource(deps, run, { row, target, repositoryId, trustRoot });
  } catch (error) {
    await target.close();
    throw error;
  }
}

async function rebuildSource(
  deps: RepositoryRunDeps,
  run: RunContext,
  from: { row: TargetRow; target: Target; repositoryId: string; trustRoot: Uint8Array },
): Promise<OpenSource> {
  const { row, target, repositoryId, trustRoot } = from;
  const identity = await takeTestIdentities(deps.keys, run.runId);
  if (identity === undefined) {
    throw new HoldfastError(
      'wrong_key',
      'Its catalogue was lost, and this appliance has no key to rebuild it',
      {
        hint: 'Take a snapshot: what it stores is known again.',
      },
    );
  }
  const lease = leaseCatalogue(deps.dataDir, repositoryId, row);
  try {
    const repository = await openRepository({
      target,
      keys: { identity, repositoryId, trustRoot },
      cataloguePath: lease.path,
    });
    const close = async () => {
      await repository.close();
      lease.release();
      await target.close();
    };
    return { name: row.name, target, catalogue: repository.catalogue, close };
  } catch (error) {
    lease.release();
    throw error;
  }
}
