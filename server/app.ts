/**
 * The HTTP application, apart from the process that runs it: plugins in written order, then each module's routes. Built
 * twice: for people over HTTPS, and for the console over a socket that only our account and root may open.
 */
import helmet from '@fastify/helmet';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import fastify, { LogController, type FastifyInstance, type FastifyPluginAsync } from 'fastify';
import { approvalActs } from './approval-acts.ts';
import { auditRoutes, lookAtRetention, SHORTER_RETENTION } from './audit/index.ts';
import { applianceRoutes, consoleRoutes, installRecoveredHold, watchInsistence } from './appliance/index.ts';
import { backupRoutes, listAnchorStates } from './backups/index.ts';
import type { Deps } from './deps.ts';
import {
  accessReviewRoutes,
  approvalRoutes,
  apiKeyRoutes,
  identityRoutes,
  requestApproval,
  reviewBanner,
  installAccessGuard,
  leakedPasswordRoutes,
  installApiLog,
  installConsoleGuard,
  logRequests,
  openToEveryone,
  registerRoutes,
  requestLogRoutes,
} from './identity/index.ts';
import { accountName } from './lib/config.ts';
import {
  guardConnections,
  helmetOptions,
  installRates,
  installReplyHeaders,
  makeProxyTest,
  MOST_HEADER_BYTES,
  refuseOddRequest,
  type ConnectionLimits,
  type RATES,
} from './lib/door/index.ts';
import {
  answerClientError,
  answerFrameworkError,
  installErrorReplies,
  JSON_BODY_LIMIT_BYTES,
  newRequestId,
} from './lib/http.ts';
import { schemaCompilers } from './lib/lazy-schemas.ts';
import { mailRoutes } from './mail/index.ts';
import { monitoringRoutes } from './monitoring/index.ts';
import { registerReference } from './reference.ts';
import { restoreTestRoutes } from './restore-tests/index.ts';
import { sendDeps } from './send-deps.ts';
import { webRoutes } from './web.ts';
import {
  listWorkspaces,
  reviewWorkspaces,
  magicLinkRule,
  tellManagers,
  workspaceConsoleRoutes,
  workspaceRoutes,
} from './workspaces/index.ts';

interface AppOptions {
  /** Certificate and key in PEM for HTTPS; absent on the console socket and in tests. */
  tls?: { certificate: string; key: string };
  /** Compiles every schema at once, for the test that none is wrong. */
  eagerSchemas?: boolean;
  /** Other limits, for the tests of them. */
  connections?: ConnectionLimits;
  rates?: typeof RATES;
}

/** A handshake and the head of a request must have arrived by then; bodies may take as long as they move. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
const HEADERS_TIMEOUT_MS = 20_000;

/** The application for people and programs. Every route is guarded; one without `config.access` stops it from starting. */
export async function buildApp(deps: Deps, options: AppOptions = {}): Promise<FastifyInstance> {
  const app = createServer(deps, options);
  logRequests(app, deps);
  const isProxy = makeProxyTest(deps.config.trustedProxies);
  guardConnections(app.server, { ...deps, isProxy }, options.connections);
  installErrorReplies(app);
  await app.register(helmet, helmetOptions(deps.config.hostSocket === undefined));
  installReplyHeaders(app);
  insistOnMachine(app, deps);
  const rates = await installRates(app, options.rates);
  app.addHook('onRequest', async (request, reply) => {
    refuseOddRequest(request);
    await rates.address(request, reply);
  });
  installAccessGuard(app, deps);
  installRecoveredHold(app, deps);
  app.addHook('onRequest', (request, reply) =>
    rates.caller(request, reply, request.usedKey?.id ?? request.signedIn?.userId),
  );
  installApiLog(app, deps);
  await registerReference(app);
  installHealth(app, deps);
  await app.register(apiRoutes(deps), { prefix: '/api/v1' });
  await app.register(async (scope) => {
    openToEveryone(scope);
    await scope.register(webRoutes());
  });
  return app;
}

/** The application behind the control socket: the same routes and those of the console. */
export async function buildConsoleApp(deps: Deps): Promise<FastifyInstance> {
  const app = createServer(deps, {});
  logRequests(app, deps);
  installErrorReplies(app);
  installConsoleGuard(app, accountName());
  installHealth(app, deps);
  await app.register(apiRoutes(deps), { prefix: '/api/v1' });
  await app.register(
    async (scope) => {
      await scope.register(consoleRoutes(deps));
      await scope.register(workspaceConsoleRoutes(deps));
      await scope.register(leakedPasswordRoutes(deps));
    },
    { prefix: '/api/v1' },
  );
  return app;
}

/** In the order of the modules. */
function apiRoutes(deps: Deps): FastifyPluginAsync {
  return async (scope) => {
    await scope.register(
      auditRoutes({
        ...deps,
        listAnchors: () => listAnchorStates(deps),
        askForRetention: async (tx, { change, consequence, actor }) =>
          requestApproval(
            tx,
            deps,
            {
              ...{ act: 'audit.retention.lower', title: SHORTER_RETENTION, payload: { ...change } },
              seen: await lookAtRetention(tx),
              ...{ object: { type: 'log', id: null }, reason: change.reason, consequence },
            },
            actor,
          ),
      }),
    );
    await scope.register(mailRoutes(sendDeps(deps)));
    const reviews = { ...deps, workspaces: reviewWorkspaces(deps) };
    await scope.register(
      identityRoutes({
        ...deps,
        bannersFor: (person) => reviewBanner(reviews, person),
        ...magicLinkRule(deps),
        whenSelfAdded: (tx, userId, teamId) => tellManagers(tx, deps, userId, { teamId }),
      }),
    );
    await scope.register(accessReviewRoutes(reviews));
    await scope.register(registerRoutes(deps));
    await scope.register(approvalRoutes({ ...deps, acts: approvalActs(deps) }));
    await scope.register(requestLogRoutes(deps));
    await scope.register(
      apiKeyRoutes({ ...deps, workspacesOf: (userId) => listWorkspaces(deps, { userId }) }),
    );
    await scope.register(workspaceRoutes(deps));
    await scope.register(backupRoutes(deps));
    await scope.register(restoreTestRoutes(deps));
    await scope.register(monitoringRoutes(sendDeps(deps)));
    await scope.register(applianceRoutes(deps));
  };
}

function createServer(deps: Deps, { tls, eagerSchemas = false }: AppOptions): FastifyInstance {
  const options = {
    loggerInstance: deps.log,
    // Requests have a log of their own, without names and searches; this one would write whole addresses into the journal.
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: newRequestId,
    bodyLimit: JSON_BODY_LIMIT_BYTES,
    requestTimeout: 0,
    connectionTimeout: 0,
    keepAliveTimeout: 72_000,
    clientErrorHandler: answerClientError,
    frameworkErrors: answerFrameworkError,
    routerOptions: { maxParamLength: 200 },
    onProtoPoisoning: 'error' as const,
    onConstructorPoisoning: 'error' as const,
    trustProxy: deps.config.trustedProxies.length === 0 ? false : makeProxyTest(deps.config.trustedProxies),
    forceCloseConnections: 'idle' as const,
    schemaController: { compilersFactory: schemaCompilers({ eager: eagerSchemas }) },
    // strictNumbers skips the limits of what is not finite, such as '1e400' in an address; each number that is taken has limits.
    ajv: {
      customOptions: {
        removeAdditional: false,
        coerceTypes: 'array' as const,
        allErrors: false,
        strictNumbers: false,
      },
    },
  };
  const app =
    tls === undefined
      ? fastify(options)
      : fastify({
          ...options,
          https: {
            cert: tls.certificate,
            key: tls.key,
            minVersion: 'TLSv1.3',
            handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
            headersTimeout: HEADERS_TIMEOUT_MS,
            connectionsCheckingInterval: 5_000,
            maxHeaderSize: MOST_HEADER_BYTES,
          },
        });
  return app.withTypeProvider<TypeBoxTypeProvider>() as unknown as FastifyInstance;
}

function installHealth(app: FastifyInstance, deps: Deps): void {
  app.get('/health/live', { config: { access: 'public' }, schema: { hide: true } }, () => ({
    status: 'live',
  }));
  app.get('/health/ready', { config: { access: 'public' }, schema: { hide: true } }, async () => {
    await deps.db.selectFrom('appliance').select('id').executeTakeFirst();
    await deps.keys.status();
    return { status: 'ready' };
  });
}

/** On a machine of ours not every certificate may be insisted on; `server/appliance/transport-security.ts` says which. */
function insistOnMachine(app: FastifyInstance, deps: Deps): void {
  if (deps.config.hostSocket === undefined) return;
  const insistence = watchInsistence(deps);
  app.addHook('onSend', async (_request, reply) => {
    const value = await insistence();
    if (value !== undefined) reply.header('strict-transport-security', value);
  });
}
