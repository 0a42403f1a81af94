/**
 * What programs asked for with keys: no query strings, no bodies, no names. Off the way of the request: entries wait in memory,
 * bounded, and are written together once a second; what came too fast for that is counted and said. It can be switched off for each
 * scope, which switches off neither the audit log nor the operators' log of requests.
 */
import type { FastifyInstance } from 'fastify';
import { recordAudit, type Actor } from '../../audit/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database } from '../../lib/db.ts';
import { clientAddress } from '../../lib/door/client-address.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import type { Person } from '../access.ts';
import { hasRight } from '../rights.ts';
import type { ApiKeyDeps } from './api-keys.ts';
import {
  addDrops,
  countDrops,
  deleteOldLogRows,
  findLogSettings,
  insertLogRows,
  listLogRows,
  listLogSettings,
  noteUses,
  saveLogSettings,
  type KeyUse,
  type LogRow,
} from './queries.ts';
import {
  DEFAULT_LOG_DAYS,
  type ApiLogEntry,
  type ApiLogPage,
  type ApiLogQuery,
  type ApiLogSettings,
} from './schema.ts';

interface LogDeps {
  db: Database;
  clock: Clock;
  log: Logger;
}

type Waiting = Omit<LogRow, 'number'>;

const FLUSH_EVERY_MS = 1_000;
/** Some 2 MiB. */
const MOST_WAITING = 5_000;
const DAY_MS = 86_400_000;

/** Notes every request that came with a key; writes what is left when the server closes. */
export function installApiLog(app: FastifyInstance, deps: LogDeps): void {
  const waiting: Waiting[] = [];
  const uses = new Map<string, KeyUse>();
  const drops = new Map<string, number>();
  let work = Promise.resolve();

  app.addHook('onResponse', async (request, reply) => {
    const key = request.usedKey;
    if (key === undefined) return;
    const [at, address] = [deps.clock.now(), clientAddress(request)];
    // A key that was refused was not used; the log has it all the same.
    if (request.signedIn !== undefined) uses.set(key.id, { id: key.id, at, address });
    const scope = key.workspaceId ?? 'appliance';
    if (waiting.length >= MOST_WAITING) {
      drops.set(scope, (drops.get(scope) ?? 0) + 1);
      return;
    }
    waiting.push({
      ...{ at, scope, address, key_id: key.id, user_id: key.userId, method: request.method },
      route: request.routeOptions.url ?? '(none)',
      object_id: objectOf(request.params),
      status: reply.statusCode,
      ms: Math.round(reply.elapsedTime),
      bytes: String(
        lengthOf(request.headers['content-length']) + lengthOf(reply.getHeader('content-length')),
      ),
    });
  });

  const flush = () => {
    if (waiting.length === 0 && uses.size === 0 && drops.size === 0) return;
    const [rows, used, dropped] = [waiting.splice(0), [...uses.values()], [...drops]];
    uses.clear();
    drops.clear();
    work = work
      .then(() => write(deps, rows, used, dropped))
      .catch((error: unknown) => {
        deps.log.error({ err: error, entries: rows.length }, 'Entries of the API log were lost');
        for (const { scope } of rows) drops.set(scope, (drops.get(scope) ?? 0) + 1);
      });
  };
  const timer = setInterval(flush, FLUSH_EVERY_MS);
  timer.unref();
  app.addHook('onClose', async () => {
    clearInterval(timer);
    flush();
    await work;
  });
}

async function write(
  deps: LogDeps,
  rows: readonly Waiting[],
  uses: readonly KeyUse[],
  drops: readonly (readonly [string, number])[],
): Promise<void> {
  const settings = await listLogSettings(deps.db);
  const off = new Set(settings.filter(({ enabled }) => !enabled).map(({ scope }) => scope));
  await writeTransaction(deps.db, async (tx) => {
    await insertLogRows(
      tx,
      rows.filter(({ scope }) => !off.has(scope)),
    );
    if (uses.length > 0) await noteUses(tx, uses);
    for (const [scope, count] of drops) await addDrops(tx, scope, deps.clock.now(), count);
  });
}

/**
 * Newest first. Whoever manages keys or the workspace sees all of a scope, others what their own keys did.
 *
 * @throws HoldfastError `invalid_input` for a cursor that no page gave out, `not_found` for a scope of others.
 */
export async function listApiLog(deps: ApiKeyDeps, person: Person, query: ApiLogQuery): Promise<ApiLogPage> {
  const { scope, key, route, method, failed, limit = 50, cursor } = query;
  if (cursor !== undefined && !/^\d{1,18}$/.test(cursor))
    throw new HoldfastError('invalid_input', 'This is no cursor of a page');
  await requireScope(deps, person, scope);
  const all = await mayManage(deps, person, scope);
  const rows = await listLogRows(deps.db, {
    ...{ scope, route, method, failed, before: cursor, limit: limit + 1 },
    keyId: key,
    userId: all ? undefined : person.userId,
  });
  const items = rows.slice(0, limit).map(toEntry);
  const since = new Date(deps.clock.now().getTime() - DEFAULT_LOG_DAYS * DAY_MS);
  return {
    items,
    nextCursor: rows.length > limit ? (items.at(-1)?.number ?? null) : null,
    dropped: await countDrops(deps.db, scope, since),
  };
}

/** What holds for a scope; the usual where nobody set it. @throws HoldfastError `not_found` for a scope of others. */
export async function readApiLogSettings(
  deps: ApiKeyDeps,
  person: Person,
  scope: string,
): Promise<ApiLogSettings> {
  await requireScope(deps, person, scope);
  const row = await findLogSettings(deps.db, scope);
  return {
    enabled: row?.enabled ?? true,
    days: row?.days ?? DEFAULT_LOG_DAYS,
    reason: row?.reason ?? null,
  };
}

/**
 * @throws HoldfastError `not_found` for a scope that the person does not manage; `invalid_input` for more than 14 days without a reason.
 */
export async function changeApiLogSettings(
  deps: ApiKeyDeps,
  person: Person,
  scope: string,
  change: ApiLogSettings,
  actor: Actor,
): Promise<ApiLogSettings> {
  if (!(await mayManage(deps, person, scope)))
    throw new HoldfastError('not_found', 'There is no such workspace');
  const reason = change.reason?.trim() ?? '';
  if (change.days > DEFAULT_LOG_DAYS && reason === '') {
    throw new HoldfastError('invalid_input', 'More than 14 days need a reason', {
      hint: 'Say what the log is needed for so long.',
    });
  }
  await writeTransaction(deps.db, async (tx) => {
    const before = await findLogSettings(tx, scope);
    const { enabled, days } = change;
    const row = { scope, enabled, days, reason: reason === '' ? null : reason };
    await saveLogSettings(tx, { ...row, changed_at: deps.clock.now() });
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.api-log.changed',
      objectType: 'api-log',
      objectId: scope,
      workspaceId: scope === 'appliance' ? null : scope,
      detail: {
        before: { enabled: before?.enabled ?? true, days: before?.days ?? DEFAULT_LOG_DAYS },
        after: { enabled, days, reason: row.reason },
      },
    });
  });
  return readApiLogSettings(deps, person, scope);
}

/** Takes away what is older than each scope's setting. */
export async function pruneApiLog(deps: Pick<LogDeps, 'db' | 'clock'>): Promise<void> {
  await writeTransaction(deps.db, (tx) => deleteOldLogRows(tx, deps.clock.now(), DEFAULT_LOG_DAYS));
}

/** @throws HoldfastError `not_found` for a workspace that the person does not belong to, and for operations they may not see. */
async function requireScope(deps: ApiKeyDeps, person: Person, scope: string): Promise<void> {
  if (scope === 'appliance' && hasRight(person.role, 'operations.read')) return;
  const workspaces = await deps.workspacesOf(person.userId);
  if (!workspaces.some(({ id }) => id === scope))
    throw new HoldfastError('not_found', 'There is no such workspace');
}

async function mayManage(deps: ApiKeyDeps, person: Person, scope: string): Promise<boolean> {
  const workspaces = await deps.workspacesOf(person.userId);
  if (workspaces.some(({ id, role }) => id === scope && role === 'manager')) return true;
  return scope === 'appliance' && hasRight(person.role, 'api-keys.manage');
}

function objectOf(params: unknown): string | null {
  const { id } = (params ?? {}) as { id?: unknown };
  return typeof id === 'string' && /^[\w-]{1,64}$/.test(id) ? id : null;
}

function lengthOf(header: unknown): number {
  const length = Number(header ?? 0);
  return Number.isSafeInteger(length) && length > 0 ? length : 0;
}

function toEntry(row: LogRow): ApiLogEntry {
  return {
    ...{ number: row.number, at: row.at.toISOString(), scope: row.scope, keyId: row.key_id },
    ...{ userId: row.user_id, method: row.method, route: row.route, objectId: row.object_id },
    ...{ status: row.status, ms: row.ms, bytes: Number(row.bytes), address: row.address },
  };
}
