/**
 * hostd: what needs root, behind fixed verbs on a unix socket that root and the server's account may open. Verbs take checked
 * values, never a command, a path or an option; every act is journaled with who wanted it.
 */
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import fastify, { type FastifyInstance } from 'fastify';
import { installErrorReplies, JSON_BODY_LIMIT_BYTES, newRequestId } from '../../lib/http.ts';
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

/** Routes of each part; a part adds its plugin here and says in its own file what its verbs refuse. */
export async function buildHostApp(deps: HostDeps): Promise<FastifyInstance> {
  const app = fastify({
    loggerInstance: deps.log,
    // Bodies hold passphrases: requests are not logged, acts are journaled.
    disableRequestLogging: true,
    genReqId: newRequestId,
    bodyLimit: JSON_BODY_LIMIT_BYTES,
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    forceCloseConnections: 'idle',
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: false } },
  }).withTypeProvider<TypeBoxTypeProvider>() as unknown as FastifyInstance;
  installErrorReplies(app);
  await app.register(stateRoutes(deps));
  await app.register(journalRoutes(deps));
  return app;
}
