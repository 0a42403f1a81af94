/** What people do about updates: the audit entry first, then hostd's verb; what hostd refuses is entered as refused. */
import { request as httpRequest } from 'node:http';
import type { Readable } from 'node:stream';
import { recordAudit, type Actor } from '../../audit/index.ts';
import type { Role } from '../../identity/index.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Config } from '../../lib/config.ts';
import { writeTransaction, type Database } from '../../lib/db.ts';
import { ERROR_STATUS, HoldfastError, type ErrorCode } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { shortPath } from '../../lib/sockets.ts';
import { connectHost, requireHost, type HostClient } from '../host/client.ts';
import type { HostActor } from '../host/schema.ts';
import type {
  CheckedBundle,
  FoundBundles,
  MaintenanceWindow,
  RestartWhen,
  Update,
  UpdateOverview,
  UploadQuery,
} from '../host/updates/schema.ts';
import { advanceUpdate } from './driver.ts';

export interface UpdateServiceDeps {
  config: Pick<Config, 'hostSocket'>;
  db: Database;
  clock: Clock;
  log: Logger;
}

/** A bundle is checked in seconds; its plain form is hashed whole. */
const CHECK_TIMEOUT_MS = 5 * 60_000;

export function readUpdates(deps: UpdateServiceDeps): Promise<UpdateOverview> {
  return hostOf(deps).get('/updates');
}

export async function collectBundles(deps: UpdateServiceDeps, actor: Actor): Promise<FoundBundles> {
  return audited(deps, actor, { verb: 'searched' }, () =>
    hostOf(deps).send('POST', '/updates/check', {}, CHECK_TIMEOUT_MS),
  );
}

export interface InstallChoice {
  sha256: string;
  restart: RestartWhen;
  /** Installs without rehearsal and safety snapshot. Only the owner, and the console, may. */
  skipReason?: string | undefined;
}

export async function installUpdate(
  deps: UpdateServiceDeps,
  actor: Actor,
  role: Role | undefined,
  choice: InstallChoice,
): Promise<Update> {
  if (choice.skipReason !== undefined && role !== 'owner' && actor.kind !== 'console') {
    throw new HoldfastError('forbidden', 'Only the owner may update without rehearsal and safety snapshot');
  }
  const { skipReason, ...rest } = choice;
  const body = { ...rest, ...(skipReason === undefined ? {} : { skipReason }), actor: hostActor(actor) };
  const update = await audited<Update>(
    deps,
    actor,
    { verb: 'requested', objectId: choice.sha256, detail: { ...choice } },
    () => hostOf(deps).send('POST', '/updates/install', body, CHECK_TIMEOUT_MS),
  );
  // Its first part is queued now. What fails here is no failure of the request: the next look by the clock does it.
  await advanceUpdate(deps).catch((error: unknown) => {
    deps.log.error({ err: error, update: update.id }, 'The first part of an update could not be queued yet');
  });
  return update;
}

export async function goBack(deps: UpdateServiceDeps, actor: Actor, restart: RestartWhen): Promise<Update> {
  return audited(deps, actor, { verb: 'reversed', detail: { restart } }, () =>
    hostOf(deps).send('POST', '/updates/way-back', { restart, actor: hostActor(actor) }),
  );
}

export async function changeRestart(
  deps: UpdateServiceDeps,
  actor: Actor,
  id: string,
  restart: RestartWhen,
): Promise<Update> {
  return audited(deps, actor, { verb: 'scheduled', objectId: id, detail: { restart } }, () =>
    hostOf(deps).send('POST', `/updates/${id}/restart`, { restart, actor: hostActor(actor) }),
  );
}

export async function cancelUpdate(deps: UpdateServiceDeps, actor: Actor, id: string): Promise<Update> {
  return audited(deps, actor, { verb: 'cancelled', objectId: id }, () =>
    hostOf(deps).send('POST', `/updates/${id}/cancel`, { actor: hostActor(actor) }),
  );
}

export async function removeBundle(deps: UpdateServiceDeps, actor: Actor, sha256: string): Promise<void> {
  await audited(deps, actor, { verb: 'removed', objectId: sha256 }, () =>
    hostOf(deps).send('DELETE', `/updates/bundles/${sha256}`),
  );
}

export async function changeWindow(
  deps: UpdateServiceDeps,
  actor: Actor,
  window: MaintenanceWindow | null,
): Promise<void> {
  await audited(deps, actor, { verb: 'timed', detail: { window } }, () =>
    hostOf(deps).send('PUT', '/updates/window', { window }),
  );
}

/** Hands a bundle on to hostd as it arrives; this process keeps none of it. */
export async function uploadBundle(
  deps: UpdateServiceDeps,
  actor: Actor,
  query: UploadQuery,
  body: Readable,
): Promise<CheckedBundle> {
  return audited(
    deps,
    actor,
    { verb: 'uploaded', detail: { source: query.source, total: query.total } },
    () =>
      streamToHost(deps, {
        method: 'PUT',
        path: `/updates/bundle?${new URLSearchParams({ ...query }).toString()}`,
        body,
      }),
  );
}

function hostOf(deps: UpdateServiceDeps): HostClient {
  return requireHost(connectHost(deps.config));
}

/** hostd knows who, and not from which browser. */
function hostActor(actor: Actor): HostActor {
  const { kind, id, label, address } = actor;
  return {
    kind,
    ...(id === undefined ? {} : { id }),
    ...(label === undefined ? {} : { label: label.slice(0, 64) }),
    ...(address === undefined ? {} : { address }),
  };
}

interface UpdateAct {
  /** Past tense: `appliance.update.<verb>`. */
  verb: string;
  objectId?: string;
  detail?: Record<string, unknown>;
}

/** Enters an act, then lets hostd do it; what it refuses is entered as refused. */
export async function audited<T>(
  deps: UpdateServiceDeps,
  actor: Actor,
  act: UpdateAct,
  perform: () => Promise<T>,
): Promise<T> {
  hostOf(deps);
  const enter = (result: 'done' | 'refused', detail: Record<string, unknown>) =>
    writeTransaction(deps.db, (tx) =>
      recordAudit(tx, deps.clock, actor, {
        action: `appliance.update.${act.verb}`,
        objectType: 'update',
        objectId: act.objectId ?? null,
        result,
        detail,
      }),
    );
  await enter('done', act.detail ?? {});
  try {
    return await perform();
  } catch (error) {
    const code = error instanceof HoldfastError ? error.code : 'internal';
    await enter('refused', { ...act.detail, code });
    throw error;
  }
}

export interface HostStream {
  method: 'PUT' | 'PATCH';
  path: string;
  headers?: Record<string, string>;
  body: Readable;
}

/** Passes bytes on as they come. Where the sender goes away, what came until then is passed on as a whole. */
export async function streamToHost<T>(deps: UpdateServiceDeps, stream: HostStream): Promise<T> {
  hostOf(deps);
  const socketPath = shortPath(deps.config.hostSocket ?? '');
  const { method, path, body } = stream;
  return new Promise((resolve, reject) => {
    const headers = { host: 'hostd', 'content-type': 'application/octet-stream', ...stream.headers };
    const request = httpRequest({ socketPath, method, path, headers }, (reply) => {
      const parts: Buffer[] = [];
      reply.on('data', (part: Buffer) => parts.push(part));
      reply.on('end', () => {
        const text = Buffer.concat(parts).toString('utf8');
        if ((reply.statusCode ?? 500) < 400) resolve(JSON.parse(text) as T);
        else reject(errorFrom(text));
      });
      reply.on('error', reject);
    });
    request.on('error', (error) =>
      reject(new HoldfastError('unavailable', 'The host daemon did not take the update', { cause: error })),
    );
    body.on('error', () => request.end());
    body.on('aborted', () => request.end());
    body.pipe(request);
  });
}

function errorFrom(text: string): HoldfastError {
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string; hint?: string } };
    const code = error.code in ERROR_STATUS ? (error.code as ErrorCode) : 'internal';
    return new HoldfastError(code, error.message, error.hint === undefined ? {} : { hint: error.hint });
  } catch {
    return new HoldfastError('internal', 'The host daemon gave an answer that cannot be read');
  }
}
