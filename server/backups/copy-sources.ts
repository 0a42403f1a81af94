/** The targets that a run copies from: opened when they are first needed, read only, closed at the end. */
import { openRepositoryWriteKeys } from '../keys/index.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import type { RunContext } from '../lib/runs.ts';
import { viewCatalogueFile } from './catalogue/open-catalogue.ts';
import type { Target } from './engine.ts';
import { openTargetConfig } from './target-config.ts';
import {
  cataloguePath,
  leaseCatalogue,
  takeTestIdentity,
  type RepositoryRunDeps,
} from './target-repository.ts';
import { openRepository } from './repository/open-repository.ts';
import type { CopySource } from './repository/plan-copy.ts';
import { openTarget } from './targets/open-target.ts';
import type { TargetRow } from './queries.ts';

interface OpenSource extends CopySource {
  close(): Promise<void>;
}

export interface CopySources {
  /** @returns undefined, after it was said in the log, for one that cannot be read now. */
  open(row: TargetRow): Promise<CopySource | undefined>;
  close(): Promise<void>;
}

export function createCopySources(deps: RepositoryRunDeps, run: RunContext): CopySources {
  const opened = new Map<string, Promise<OpenSource | undefined>>();
  const open = async (row: TargetRow): Promise<OpenSource | undefined> => {
    try {
      return await openSource(deps, run, row);
    } catch (error) {
      run.signal.throwIfAborted();
      await run.log('warn', `${row.name} cannot be copied from: ${messageOf(error)}`);
      return undefined;
    }
  };
  return {
    open(row) {
      const known = opened.get(row.id) ?? open(row);
      opened.set(row.id, known);
      return known;
    },
    async close() {
      for (const source of opened.values()) await (await source)?.close();
      opened.clear();
    },
  };
}

/** By the catalogue that the appliance has of it, beside whatever writes there. Where that was lost, by a new one, which takes a key. */
async function openSource(deps: RepositoryRunDeps, run: RunContext, row: TargetRow): Promise<OpenSource> {
  const { repositoryId, trustRoot } = await openRepositoryWriteKeys(deps.keys);
  const target = await openTarget(await openTargetConfig(deps, row));
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
  const identity = await takeTestIdentity(deps.keys, run.runId);
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
