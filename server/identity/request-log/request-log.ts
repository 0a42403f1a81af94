/**
 * Every request that was answered or refused, for those who operate the appliance. Kept of it: who, the route's pattern, how it ended,
 * how long it took, how much went, from where. Never an address with its parameters, a header or a body: secrets may be in them.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { recordAudit, type Actor } from '../../audit/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database } from '../../lib/db.ts';
import { clientAddress } from '../../lib/door/client-address.ts';
import { errorCodeOf } from '../../lib/http.ts';
import type { LogFiles, LogLimits } from './log-files.ts';
import { getRequestLogSettings, updateRequestLogSettings, type RequestLogSettingsRow } from './queries.ts';
import type { RequestLogChange, RequestLogState } from './schema.ts';
import { writeLine } from './search-log.ts';

export interface RequestLogDeps {
  db: Database;
  clock: Clock;
  requestLog: LogFiles;
}

const MIB = 1024 * 1024;
/** Until the settings have been read. */
export const FIRST_LIMITS: LogLimits = { days: 30, mostBytes: 512 * MIB };

/** Writes down every request of an application, those that the door refused too. Call before any other hook is added. */
export function logRequests(app: FastifyInstance, { clock, requestLog }: RequestLogDeps): void {
  const counted = new WeakMap<object, { received: number; sent: number }>();
  app.addHook('onResponse', async (request, reply) => {
    const { socket } = request.raw;
    const before = counted.get(socket) ?? { received: 0, sent: 0 };
    const now = { received: countOf(socket.bytesRead), sent: countOf(socket.bytesWritten) };
    counted.set(socket, now);
    requestLog.add(
      writeLine({
        id: request.id,
        at: new Date(clock.now().getTime() - reply.elapsedTime).toISOString(),
        method: request.method,
        route: request.is404 ? null : (request.routeOptions.url ?? null),
        status: reply.statusCode,
        code: errorCodeOf(request) ?? null,
        ms: Math.round(reply.elapsedTime * 10) / 10,
        receivedBytes: Math.max(0, now.received - before.received),
        sentBytes: Math.max(0, now.sent - before.sent),
        ...callerOf(request, reply),
      }),
    );
  });
}

function callerOf(request: FastifyRequest, { raw }: FastifyReply) {
  // Null where the door refused it, before the guard looked.
  const actor = request.actor as Actor | null;
  const address = actor?.kind === 'console' ? null : clientAddress(request);
  return {
    address,
    who: actor?.id ?? actor?.label ?? null,
    whoKind: actor?.kind ?? 'user',
    cutOff: !raw.writableFinished,
  };
}

/** A connection that is none, in tests, counts nothing. */
function countOf(bytes: number | undefined): number {
  return bytes ?? 0;
}

export async function readRequestLogState(deps: RequestLogDeps): Promise<RequestLogState> {
  const settings = await getRequestLogSettings(deps.db);
  const segments = await deps.requestLog.segments();
  const oldest = segments.at(-1);
  return {
    ...{ days: settings.days, mostMib: settings.most_mib, usedBytes: await deps.requestLog.usedBytes() },
    oldestAt: oldest === undefined ? null : new Date(oldest.startMs).toISOString(),
    lost: deps.requestLog.lost(),
  };
}

export async function changeRequestLog(
  deps: RequestLogDeps,
  actor: Actor,
  { days, mostMib }: RequestLogChange,
): Promise<RequestLogState> {
  const row = { days, most_mib: mostMib, changed_at: deps.clock.now() };
  await writeTransaction(deps.db, async (tx) => {
    const before = await updateRequestLogSettings(tx, row);
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.request-log.changed',
      objectType: 'settings',
      detail: { before: { days: before.days, mostMib: before.most_mib }, after: { days, mostMib } },
    });
  });
  await deps.requestLog.bound(limitsOf(row));
  return readRequestLogState(deps);
}

/** Takes away what is older or more than is set. */
export async function boundRequestLog(deps: RequestLogDeps): Promise<void> {
  await deps.requestLog.bound(limitsOf(await getRequestLogSettings(deps.db)));
}

function limitsOf(row: RequestLogSettingsRow): LogLimits {
  return { days: row.days, mostBytes: row.most_mib * MIB };
}
