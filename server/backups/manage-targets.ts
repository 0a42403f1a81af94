/** Adding, trying out and retiring targets. A target outside the allowed regions is refused before a byte is sent. */
import { randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { recordAudit, type Actor } from '../audit/index.ts';
import type { FieldSealer, KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { findNewestNumber, hasOpenWork } from './copy-queries.ts';
import type { TargetConfig } from './engine.ts';
import {
  deleteSignIn,
  getTarget,
  insertTarget,
  listActiveTargets,
  listTargets,
  lockTarget,
  updateTarget,
  type TargetRow,
} from './queries.ts';
import { holdAllowedRegion, requireAllowedRegion } from './residency.ts';
import { beginRetention } from './apply-retention.ts';
import { checkPolicy } from './retention/policy.ts';
import { KEEP_EVERYTHING } from './retention/policy-words.ts';
import type { S3TargetRequest, TargetProbe, TargetReply, TargetRequest } from './schema.ts';
import { directoryConfigOf, locationOf, openTargetConfig, reachOfAppliance } from './target-config.ts';
import { s3ConfigOf, s3SettingsFor } from './s3-targets.ts';
import { toTargetReply } from './show-targets.ts';
import { sealForTarget, takeSignIn } from './target-sign-ins.ts';
import { probeTarget } from './targets/probe.ts';
import { takeTrialTurn } from './trial-turns.ts';

export interface TargetDeps {
  db: Database;
  clock: Clock;
  dataDir: string;
  keys: Pick<KeyClient, 'status' | 'applianceKey'>;
  sealer: Pick<FieldSealer, 'open' | 'seal'>;
}

/**
 * @throws HoldfastError `forbidden` for a region that the policy refuses, `too_many_requests`, and as `takeSignIn` does; everything else
 *   is told in the probe.
 */
export async function tryTarget(
  deps: TargetDeps,
  actor: Actor,
  request: TargetRequest,
): Promise<TargetProbe> {
  await requireAllowedRegion(deps.db, request.region);
  const config = await configOf(deps, actor, request);
  await noteTrial(deps, actor, config);
  return probeTarget(config, { dataPath: deps.dataDir, clock: deps.clock });
}

/** Of what somebody asks for; an SFTP server's key is not known before it was compared. */
async function configOf(deps: TargetDeps, actor: Actor, request: TargetRequest): Promise<TargetConfig> {
  if (request.kind === 'directory') return { kind: 'directory', path: request.path };
  if (request.kind === 's3') return s3ConfigOf(request);
  const { kind, host, port, username, path, fingerprint = '' } = request;
  const { signIn } = await takeSignIn(deps, actor, request.signIn);
  return { ...{ kind, host, port, username, path, hostKey: { fingerprint }, signIn }, ...reachOfAppliance() };
}

/** Before anything goes out: a trial that searches the network is in the log also when it never ends. */
async function noteTrial(deps: TargetDeps, actor: Actor, config: TargetConfig, id?: string): Promise<void> {
  if (config.kind === 'directory') return;
  takeTrialTurn(deps, actor);
  const place =
    config.kind === 's3'
      ? { endpoint: config.endpoint, bucket: config.bucket, prefix: config.prefix }
      : { host: config.host, port: config.port, username: config.username };
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, actor, {
      action: 'backups.target.tried',
      objectType: 'target',
      ...(id === undefined ? {} : { objectId: id }),
      detail: place,
    }),
  );
}

/**
 * @throws HoldfastError `wrong_state` before a recovery kit is proven, `forbidden` for a refused region, `invalid_input` when the probe
 * found something bad, `conflict` for a taken name and for a place that is a target already.
 */
export async function addTarget(
  deps: TargetDeps,
  actor: Actor,
  request: TargetRequest,
): Promise<TargetReply> {
  if (request.retention !== undefined) checkPolicy(request.retention);
  const { repository } = await deps.keys.status();
  if (!repository.claimed) {
    throw new HoldfastError('wrong_state', 'A target needs a proven recovery kit first', {
      hint: 'Make a recovery kit and prove it: without one nobody could open what is stored there.',
    });
  }
  await refuseKnownPlace(deps, actor, request);
  const probe = await tryTarget(deps, actor, request);
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
  const { settings, keepSignIn } = await settingsOf(deps, actor, request, probe);
  const location = locationOf({ kind: request.kind, settings: settings as never });
  const row = await writeTransaction(deps.db, async (tx) => {
    await holdAllowedRegion(tx, request.region);
    await keepSignIn?.(tx);
    const { name, kind, region, retention, bring = 'everything' } = request;
    const id = randomUUID();
    const before = (await listTargets(tx)).filter((one) => one.kind === kind && locationOf(one) === location);
    if (before.some((one) => one.state === 'active')) throw knownPlace();
    const inserted = await insertTarget(tx, {
      // What is remembered of a place holds when it is added again.
      ...{ id, catalogue: newestOf(before)?.catalogue ?? id },
      copyFrom: bring === 'newest' ? await findNewestNumber(tx) : 0,
      ...{ name, kind, region, settings, probe },
      sameDisk: probe.sameDisk,
      regionKnownBy: probe.regionSaid === true ? 'provider' : undefined,
      createdAt: deps.clock.now(),
    });
    await beginRetention(tx, deps.clock, inserted, retention);
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.target.added',
      objectType: 'target',
      objectId: inserted.id,
      detail: {
        ...{ kind, region, sameDisk: probe.sameDisk, retention: retention ?? KEEP_EVERYTHING, bring },
        ...(request.kind === 'sftp' ? { host: request.host, fingerprint: request.fingerprint ?? '' } : {}),
        ...(request.kind === 's3' ? s3Detail(request) : {}),
      },
    });
    return inserted;
  });
  return toTargetReply(deps, row);
}

function newestOf(rows: readonly TargetRow[]): TargetRow | undefined {
  return [...rows].sort((a, b) => b.created_at.getTime() - a.created_at.getTime())[0];
}

function knownPlace(): HoldfastError {
  return new HoldfastError('conflict', 'This place is a target already', {
    hint: 'Two targets in one place are lost together. Choose another disk, server or bucket.',
  });
}

/** A directory is known by what it is, not by the path that leads to it. */
async function refuseKnownPlace(deps: TargetDeps, actor: Actor, request: TargetRequest): Promise<void> {
  if (request.kind !== 'directory') return;
  const config = await configOf(deps, actor, request);
  const wanted = await identityOf(config);
  if (wanted === undefined) return;
  for (const row of await listActiveTargets(deps.db)) {
    if (row.kind === 'directory' && (await identityOf(directoryConfigOf(row))) === wanted) throw knownPlace();
  }
}

async function identityOf(config: TargetConfig): Promise<string | undefined> {
  if (config.kind !== 'directory') return undefined;
  try {
    const { dev, ino } = await stat(config.path, { bigint: true });
    return `${String(dev)} ${String(ino)}`;
  } catch {
    // Away, or not ours to look at: the trial says so.
    return undefined;
  }
}

function s3Detail({ endpoint, bucket, prefix, lock, signIn }: S3TargetRequest): object {
  const accessKeyId = signIn.kind === 'access-key' ? { accessKeyId: signIn.accessKeyId } : {};
  return { endpoint, bucket, prefix, ...(lock === undefined ? {} : { lock }), ...accessKeyId };
}

/** What is kept of a request whose trial was good, and how the sealed secret is kept beside it. */
async function settingsOf(deps: TargetDeps, actor: Actor, request: TargetRequest, probe: TargetProbe) {
  if (request.kind === 'directory') return { settings: { path: request.path } };
  if (request.kind === 's3') return s3SettingsFor(deps, request);
  const { host, port, username, path } = request;
  const { type, fingerprint } = probe.hostKey ?? { type: '', fingerprint: request.fingerprint ?? '' };
  const sealed = await sealForTarget(deps, await takeSignIn(deps, actor, request.signIn));
  return {
    settings: { host, port, username, path, hostKey: { type, fingerprint }, signInId: sealed.id },
    keepSignIn: sealed.keep,
  };
}

/** Tries an existing target again and keeps what was found. */
export async function probeAgain(deps: TargetDeps, actor: Actor, id: string): Promise<TargetProbe> {
  const row = await getTarget(deps.db, id);
  if (row.state === 'retired' && row.kind !== 'directory') {
    throw new HoldfastError('wrong_state', 'This target is retired', {
      hint: 'What it holds can be read with the recovery kit.',
    });
  }
  const config = await openTargetConfig(deps, row);
  await noteTrial(deps, actor, config, id);
  const probe = await probeTarget(config, { dataPath: deps.dataDir, clock: deps.clock });
  const known = probe.checks.some((check) => check.name === 'place');
  const stranger = probe.hostKey?.confirmed === false ? probe.checks[0] : undefined;
  const change = {
    probe,
    // A trial that did not get that far does not make a local copy one that is elsewhere.
    ...(known ? { sameDisk: probe.sameDisk } : {}),
    ...(stranger === undefined ? {} : { lastError: { code: 'wrong_key', message: stranger.message } }),
  };
  await writeTransaction(deps.db, async (tx) => {
    // A key that an owner accepted while this trial was under way is not to be called a stranger's.
    const { settings } = await lockTarget(tx, id);
    const same = JSON.stringify(settings) === JSON.stringify(row.settings);
    await updateTarget(tx, id, same ? change : {});
  });
  return probe;
}

/** Stops shipping to a target. What it holds stays there and can be recovered with the kit. */
export async function retireTarget(deps: TargetDeps, actor: Actor, id: string): Promise<TargetReply> {
  const row = await getTarget(deps.db, id);
  if (row.state === 'retired') return toTargetReply(deps, row);
  const retired = await writeTransaction(deps.db, async (tx) => {
    if (await hasOpenWork(tx, id)) {
      throw new HoldfastError('wrong_state', 'Work on this target is under way', {
        hint: 'Wait for the running jobs to end, or cancel them.',
      });
    }
    const { settings } = await lockTarget(tx, id);
    const changed = await updateTarget(tx, id, { state: 'retired', withoutSignIn: true });
    // No run needs it any more, and whoever recovers from there gives it again.
    const { signInId } = settings as { signInId?: string };
    if (signInId !== undefined) await deleteSignIn(tx, signInId);
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.target.retired',
      objectType: 'target',
      objectId: id,
    });
    return changed;
  });
  return toTargetReply(deps, retired);
}

/** Those in use, in their order. @throws HoldfastError `wrong_state` when there is none. */
export async function requireTargets(db: Database): Promise<TargetRow[]> {
  const rows = await listActiveTargets(db);
  if (rows.length > 0) return rows;
  throw new HoldfastError('wrong_state', 'There is no target to write to', {
    hint: 'Add a target first.',
  });
}
