/** Adding, trying out, showing and retiring targets. A target outside the allowed regions is refused before a byte is sent. */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../audit/index.ts';
import type { KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { TargetConfig } from './engine.ts';
import {
  getTarget,
  insertTarget,
  listActiveTargets,
  listTargets,
  updateTarget,
  type TargetRow,
} from './queries.ts';
import type { TargetProbe, TargetReply, TargetRequest } from './schema.ts';
import { readFreeBytes } from './targets/free-space.ts';
import { LOCAL_COPY_LABEL, probeTarget } from './targets/probe.ts';

export interface TargetDeps {
  db: Database;
  clock: Clock;
  dataDir: string;
  keys: Pick<KeyClient, 'status'>;
}

export function targetConfigOf(row: TargetRow): TargetConfig {
  const settings = row.settings as { path: string };
  return { kind: 'directory', path: settings.path };
}

export async function toTargetReply(row: TargetRow): Promise<TargetReply> {
  const { path } = targetConfigOf(row);
  return {
    id: row.id,
    name: row.name,
    kind: 'directory',
    location: path,
    region: row.region,
    regionKnownBy: row.region_known_by,
    sameDisk: row.same_disk,
    label: row.same_disk ? LOCAL_COPY_LABEL : null,
    probe: row.probe as TargetProbe | null,
    freeBytes: await readFreeBytes(path, row.probe),
    state: row.state as TargetReply['state'],
    lastOkAt: row.last_ok_at?.toISOString() ?? null,
    lastError: row.last_error as TargetReply['lastError'],
    createdAt: row.created_at.toISOString(),
  };
}

export async function showTargets(deps: Pick<TargetDeps, 'db'>): Promise<TargetReply[]> {
  return Promise.all((await listTargets(deps.db)).map(toTargetReply));
}

/** @throws HoldfastError `forbidden` for a region that the policy refuses; everything else is told in the probe. */
export async function tryTarget(deps: TargetDeps, request: TargetRequest): Promise<TargetProbe> {
  await requireAllowedRegion(deps.db, request.region);
  return probeTarget(
    { kind: request.kind, path: request.path },
    { dataPath: deps.dataDir, clock: deps.clock },
  );
}

/**
 * @throws HoldfastError `wrong_state` before a recovery kit is proven or while another target is in use, `forbidden` for
 * a refused region, `invalid_input` when the probe found something bad, `conflict` for a taken name.
 */
export async function addTarget(
  deps: TargetDeps,
  actor: Actor,
  request: TargetRequest,
): Promise<TargetReply> {
  const { repository } = await deps.keys.status();
  if (!repository.claimed) {
    throw new HoldfastError('wrong_state', 'A target needs a proven recovery kit first', {
      hint: 'Make a recovery kit and prove it: without one nobody could open what is stored there.',
    });
  }
  if ((await listActiveTargets(deps.db)).length > 0) {
    throw new HoldfastError('wrong_state', 'A target is in use already', {
      hint: 'Retire it first; what it holds stays there. Shipping to several targets at once is not part of this version.',
    });
  }
  const probe = await tryTarget(deps, request);
  const bad = probe.checks.find((check) => check.state === 'bad');
  if (!probe.ok || bad !== undefined) {
    throw new HoldfastError(
      'invalid_input',
      `This target cannot be used: ${bad?.message ?? 'the probe failed'}`,
      {
        hint: 'Put that right, or choose another folder, and try again.',
      },
    );
  }
  if (probe.existingRepository !== null && probe.existingRepository !== repository.repositoryId) {
    throw new HoldfastError('conflict', 'Another appliance keeps its repository in this folder', {
      hint: 'Choose an empty folder, or recover that appliance with `holdfast recover` and its kit.',
    });
  }
  const row = await writeTransaction(deps.db, async (tx) => {
    const inserted = await insertTarget(tx, {
      id: randomUUID(),
      ...request,
      sameDisk: probe.sameDisk,
      probe,
      createdAt: deps.clock.now(),
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.target.added',
      objectType: 'target',
      objectId: inserted.id,
      detail: { kind: request.kind, region: request.region, sameDisk: probe.sameDisk },
    });
    return inserted;
  });
  return toTargetReply(row);
}

/** Tries an existing target again and keeps what was found. */
export async function probeAgain(deps: TargetDeps, id: string): Promise<TargetProbe> {
  const row = await getTarget(deps.db, id);
  const probe = await probeTarget(targetConfigOf(row), { dataPath: deps.dataDir, clock: deps.clock });
  await writeTransaction(deps.db, (tx) => updateTarget(tx, id, { probe, sameDisk: probe.sameDisk }));
  return probe;
}

/** Stops shipping to a target. What it holds stays there and can be recovered with the kit. */
export async function retireTarget(deps: TargetDeps, actor: Actor, id: string): Promise<TargetReply> {
  const row = await getTarget(deps.db, id);
  if (row.state === 'retired') return toTargetReply(row);
  const retired = await writeTransaction(deps.db, async (tx) => {
    const open = await tx
      .selectFrom('runs')
      .select('id')
      .where('state', 'in', ['queued', 'running'])
      .executeTakeFirst();
    if (open !== undefined) {
      throw new HoldfastError('wrong_state', 'Work on this target is under way', {
        hint: 'Wait for the running jobs to end, or cancel them.',
      });
    }
    const changed = await updateTarget(tx, id, { state: 'retired' });
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.target.retired',
      objectType: 'target',
      objectId: id,
    });
    return changed;
  });
  return toTargetReply(retired);
}

/** @throws HoldfastError `wrong_state` when there is none. */
export async function requireTarget(db: Database): Promise<TargetRow> {
  const [row] = await listActiveTargets(db);
  if (row === undefined) {
    throw new HoldfastError('wrong_state', 'There is no target to write to', {
      hint: 'Add a target first.',
    });
  }
  return row;
}

async function requireAllowedRegion(db: Database, region: string): Promise<void> {
  const row = await db.selectFrom('appliance').select('allowed_regions').executeTakeFirst();
  const allowed = row?.allowed_regions ?? [];
  if (allowed.includes(region)) return;
  throw new HoldfastError('forbidden', `The region ${region} is not allowed for this appliance's data`, {
    hint:
      allowed.length === 0
        ? 'Set the allowed regions in the settings first.'
        : `Allowed: ${allowed.join(', ')}. An owner can change that in the settings.`,
  });
}
