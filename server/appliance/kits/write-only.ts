/**
 * Write-only use: the appliance holds no key that opens its backups, only the recovery kits do. Guarantees: it is refused as long as nobody
 * has shown that they hold a kit, and while anything here holds the keys in its memory; keyd destroys the test identities of all
 * generations in one durable step; register and audit entry come in one transaction after it, or at the next start. Destroyed is destroyed:
 * turning it off begins a new generation, and what is older stays closed to this appliance for ever.
 */
import { setTimeout } from 'node:timers/promises';
import type { Actor } from '../../audit/index.ts';
import type { SnapshotBrowser } from '../../backups/index.ts';
import type { KeyClient } from '../../keys/index.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { RunKind } from '../../lib/run-schema.ts';
import { listRuns } from '../../lib/runs.ts';
import { listSealedKits } from '../sealed-kits.ts';
import { rekey, type RekeyDeps } from './rekey.ts';
import type { WriteOnlyRequest } from './schema.ts';
import { settleIn } from './settle.ts';

export type WriteOnlyDeps = RekeyDeps &
  Parameters<typeof listSealedKits>[0] & {
    keys: Pick<KeyClient, 'destroyTestIdentities'>;
    snapshotBrowser: Pick<SnapshotBrowser, 'stop'>;
  };

/** Queued or under way, they need the keys: said by their names. */
const RESTORES: readonly RunKind[] = ['restore-test', 'restore-file', 'restore-folder', 'restore-directory'];

/**
 * @returns the generation that is in use now.
 * @throws HoldfastError `conflict` when another generation is in use than was looked at, and while a run holds the keys; `wrong_state`
 * when it is so already, when no holder of a kit has shown it, and as `rekey`.
 */
export async function setWriteOnly(
  deps: WriteOnlyDeps,
  { on, follows, reason }: WriteOnlyRequest,
  actor: Actor,
): Promise<{ generation: number }> {
  const { repository } = await deps.keys.status();
  if (!repository.claimed)
    throw new HoldfastError('wrong_state', 'This appliance has no backup repository yet', {
      hint: 'Make a recovery kit and prove it first.',
    });
  if (repository.generation !== follows)
    throw new HoldfastError('conflict', 'The keys of the repository were changed meanwhile', {
      hint: 'Look which generation is in use now.',
    });
  if (repository.writeOnly === on)
    throw new HoldfastError('wrong_state', `Write-only mode is ${on ? 'on' : 'off'} already`);
  if (!on) return rekey(deps, { follows, reason }, actor, { testIdentity: true });
  await requireShownKit(deps, repository.kits);
  await requireNoRestore(deps);
  // It looks into snapshots with keys of its own, and is started again when somebody asks.
  await deps.snapshotBrowser.stop();
  await destroyOnceFree(deps);
  crashPoint('appliance.write-only.destroyed');
  await writeTransaction(deps.db, (tx) => settleIn(tx, deps, { actor, reason: reason.trim() }));
  return { generation: repository.generation };
}

/** keyd hears a moment late that a process which ended is gone. */
async function destroyOnceFree({ keys }: Pick<WriteOnlyDeps, 'keys'>): Promise<void> {
  for (let left = 8; ; left--) {
    try {
      await keys.destroyTestIdentities();
      return;
    } catch (error) {
      const held = error instanceof HoldfastError && error.code === 'conflict';
      if (!held || left === 0) throw error;
      await setTimeout(250);
    }
  }
}

/** A kit that a set-up file made was proven by the set-up itself: until its sealed copy is taken away, nobody may have it. */
async function requireShownKit(deps: WriteOnlyDeps, kits: readonly { id: string }[]): Promise<void> {
  const sealed = await listSealedKits(deps);
  if (kits.some((kit) => !sealed.includes(kit.id))) return;
  throw new HoldfastError('wrong_state', 'Nobody has shown yet that they hold a recovery kit', {
    hint: 'Download the sealed kit, open it, keep it elsewhere and remove it here; or make a kit and prove it. Without one, nobody opens the backups.',
  });
}

async function requireNoRestore(deps: WriteOnlyDeps): Promise<void> {
  const open = (await listRuns(deps.db, { open: true, limit: 50 })).find((run) =>
    RESTORES.includes(run.kind),
  );
  if (open === undefined) return;
  const what = open.kind === 'restore-test' ? 'A restore test' : 'A restore';
  throw new HoldfastError('conflict', `${what} is under way, which needs the key`, {
    hint: 'Wait for it to end, or cancel it, then try again.',
  });
}
