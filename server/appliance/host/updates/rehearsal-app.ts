/**
 * The one verb that runs may ask of hostd, on a socket of its own that only their account may open: try out the migrations of
 * the update that a person asked for. Everything else on the machine stays out of their reach.
 */
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import fastify, { type FastifyInstance } from 'fastify';
import { dirname, join } from 'node:path';
import { Type, type Static } from 'typebox';
import { HoldfastError } from '../../../lib/errors.ts';
import { installErrorReplies, newRequestId } from '../../../lib/http.ts';
import type { Logger } from '../../../lib/log.ts';
import { Id } from '../../../lib/shapes.ts';
import { MigrationAnswer, rehearseMigrations, type Launch } from './rehearsal.ts';
import type { Updates } from './updates.ts';

export const RehearseRequest = Type.Object({
  updateId: Id,
  /** Whose scratch folder holds the database. */
  runId: Id,
  role: Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_-]{0,62}$' }),
  database: Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_-]{0,62}$' }),
});
export type RehearseRequest = Static<typeof RehearseRequest>;

export interface RehearsalAppDeps {
  log: Logger;
  updates: Updates;
  /** HOLDFAST_DATA on this machine. */
  dataDir: string;
  launch: Launch;
  openRoot(bundlePath: string): Promise<{ root: string; close(): Promise<void> }>;
}

/** Beside hostd's own socket. */
export function rehearsalSocket(hostSocket: string): string {
  return join(dirname(hostSocket), 'host-run.sock');
}

export async function buildRehearsalApp(deps: RehearsalAppDeps): Promise<FastifyInstance> {
  const app = fastify({
    loggerInstance: deps.log.child({}, { level: deps.log.level === 'silent' ? 'silent' : 'warn' }),
    genReqId: newRequestId,
    bodyLimit: 4_096,
    forceCloseConnections: 'idle',
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: false } },
  }).withTypeProvider<TypeBoxTypeProvider>();
  installErrorReplies(app as unknown as FastifyInstance);
  app.post(
    '/rehearse',
    { schema: { body: RehearseRequest, response: { 200: MigrationAnswer } } },
    ({ body }) => rehearse(deps, body),
  );
  await app.ready();
  return app as unknown as FastifyInstance;
}

async function rehearse(deps: RehearsalAppDeps, request: RehearseRequest): Promise<MigrationAnswer> {
  const current = await deps.updates.records.current();
  if (current?.id !== request.updateId || current.state !== 'rehearsing' || current.bundle === null) {
    throw new HoldfastError('wrong_state', 'No update waits for this rehearsal');
  }
  const opened = await deps.openRoot(deps.updates.store.path(current.bundle.sha256));
  try {
    return await rehearseMigrations(deps.launch, opened.root, {
      socketDir: join(deps.dataDir, 'scratch', request.runId, 'run'),
      role: request.role,
      database: request.database,
    });
  } finally {
    await opened.close();
  }
}
