/**
 * hostd: what needs root, behind fixed verbs on a unix socket that root and the server's account may open. Verbs take checked
 * values, never a command, a path or an option; every act is journaled with who wanted it.
 */
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import fastify, { type FastifyInstance, type FastifyPluginAsync } from 'fastify';
import { installErrorReplies, JSON_BODY_LIMIT_BYTES, newRequestId } from '../../lib/http.ts';
import { schemaCompilers } from '../../lib/lazy-schemas.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../lib/log.ts';
import type { HostPlaces } from './host-places.ts';
import { journalRoutes } from './journal-routes.ts';
import type { ActJournal } from './journal.ts';
import { stateRoutes } from './state-routes.ts';

/** What every verb may use. */
export interface HostDeps {
  places: HostPlaces;
  clock: Clock;
  log: Logger;
  journal: ActJournal;
}

/**
 * @param parts the verbs of each part, made in `hostd.ts` with what they work on; a part's own file says what its verbs refuse.
 */
export async function buildHostApp(
  deps: HostDeps,
  parts: readonly FastifyPluginAsync[] = [],
): Promise<FastifyInstance> {
  const app = fastify({
    // Bodies hold passphrases: requests are not logged, acts are journaled.
    loggerInstance: deps.log.child({}, { level: deps.log.level === 'silent' ? 'silent' : 'warn' }),
    genReqId: newRequestId,
    bodyLimit: JSON_BODY_LIMIT_BYTES,
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    forceCloseConnections: 'idle',
    schemaController: { compilersFactory: schemaCompilers() },
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: false } },
  }).withTypeProvider<TypeBoxTypeProvider>() as unknown as FastifyInstance;
  installErrorReplies(app);
  await app.register(stateRoutes(deps));
  await app.register(journalRoutes(deps));
  for (const part of parts) await app.register(part);
  return app;
}
