/**
 * The HTTP application, apart from the process that runs it: plugins in written order, then each module's routes. Built
 * twice: for people over HTTPS, and for the console over a socket that only our account and root may open.
 */
import helmet from '@fastify/helmet';
import rateLimit from '@fastify/rate-limit';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import fastify, { type FastifyInstance, type FastifyPluginAsync } from 'fastify';
import { auditRoutes } from './audit/index.ts';
import { applianceRoutes, consoleRoutes, watchInsistence } from './appliance/index.ts';
import { backupRoutes, listAnchorStates } from './backups/index.ts';
import type { Deps } from './deps.ts';
import { identityRoutes, installAccessGuard, installConsoleGuard, openToEveryone } from './identity/index.ts';
import { accountName, type Config } from './lib/config.ts';
import { HoldfastError } from './lib/errors.ts';
import { installErrorReplies, JSON_BODY_LIMIT_BYTES, newRequestId } from './lib/http.ts';
import { schemaCompilers } from './lib/lazy-schemas.ts';
import { SOFTWARE_VERSION } from './lib/version.ts';
import { restoreTestRoutes } from './restore-tests/index.ts';
import { webRoutes } from './web.ts';
import { workspaceConsoleRoutes, workspaceRoutes } from './workspaces/index.ts';

interface AppOptions {
  /** Certificate and key in PEM for HTTPS; absent on the console socket and in tests. */
  tls?: { certificate: string; key: string };
  /** Compiles every schema at once, for the test that none is wrong. */
  eagerSchemas?: boolean;
}

/** Requests a minute from one address; a browser that uploads many small files needs a few thousand. */
const REQUESTS_PER_MINUTE = 12_000;
/** Headers must have arrived by then; bodies may take as long as they move. */
const HEADERS_TIMEOUT_MS = 20_000;

/** The application for people and programs. Every route is guarded; one without `config.access` stops it from starting. */
export async function buildApp(deps: Deps, options: AppOptions = {}): Promise<FastifyInstance> {
  const app = createServer(deps, options);
  installErrorReplies(app);
  await app.register(helmet, helmetOptions(deps.config));
  insistOnMachine(app, deps);
  await app.register(rateLimit, {
    max: REQUESTS_PER_MINUTE,
    timeWindow: '1 minute',
    errorResponseBuilder: () => new HoldfastError('too_many_requests', 'Too many requests from this address'),
  });
  installAccessGuard(app, deps);
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
  installErrorReplies(app);
  installConsoleGuard(app, accountName());
  installHealth(app, deps);
  await app.register(apiRoutes(deps), { prefix: '/api/v1' });
  await app.register(
    async (scope) => {
      await scope.register(consoleRoutes(deps));
      await scope.register(workspaceConsoleRoutes(deps));
    },
    { prefix: '/api/v1' },
  );
  return app;
}

/** In the order of the modules. */
function apiRoutes(deps: Deps): FastifyPluginAsync {
  return async (scope) => {
    await scope.register(auditRoutes({ ...deps, listAnchors: () => listAnchorStates(deps) }));
    await scope.register(identityRoutes(deps));
    await scope.register(workspaceRoutes(deps));
    await scope.register(backupRoutes(deps));
    await scope.register(restoreTestRoutes(deps));
    await scope.register(applianceRoutes(deps));
  };
}

function createServer(deps: Deps, { tls, eagerSchemas = false }: AppOptions): FastifyInstance {
  const options = {
    loggerInstance: deps.log,
    genReqId: newRequestId,
    bodyLimit: JSON_BODY_LIMIT_BYTES,
    requestTimeout: 0,
    connectionTimeout: 0,
    keepAliveTimeout: 72_000,
    routerOptions: { maxParamLength: 200 },
    onProtoPoisoning: 'error' as const,
    onConstructorPoisoning: 'error' as const,
    trustProxy: false,
    forceCloseConnections: 'idle' as const,
    schemaController: { compilersFactory: schemaCompilers({ eager: eagerSchemas }) },
    ajv: { customOptions: { removeAdditional: false, coerceTypes: 'array' as const, allErrors: false } },
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
            headersTimeout: HEADERS_TIMEOUT_MS,
          },
        });
  return app.withTypeProvider<TypeBoxTypeProvider>() as unknown as FastifyInstance;
}

async function registerReference(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Holdfast',
        version: SOFTWARE_VERSION,
        description:
          'Every state-changing request carries the header `x-holdfast: 1`. Errors: `{ error: { code, message, hint?, requestId } }`.',
      },
      components: { securitySchemes: { session: { type: 'apiKey', in: 'cookie', name: '__Host-holdfast' } } },
    },
  });
  await app.register(async (scope) => {
    openToEveryone(scope);
    scope.get('/api/openapi.json', { schema: { hide: true } }, () => app.swagger());
    await scope.register(swaggerUi, {
      routePrefix: '/api/docs',
      staticCSP: true,
      uiConfig: { supportedSubmitMethods: [] },
    });
  });
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

const helmetOptions = (config: Pick<Config, 'hostSocket'>) => ({
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'", 'blob:', 'data:'],
      connectSrc: ["'self'"],
      fontSrc: ["'self'"],
      frameSrc: ["'self'"],
      manifestSrc: ["'self'"],
      baseUri: ["'none'"],
      formAction: ["'self'"],
      frameAncestors: ["'none'"],
    },
  },
  crossOriginEmbedderPolicy: false,
  crossOriginOpenerPolicy: { policy: 'same-origin' as const },
  crossOriginResourcePolicy: { policy: 'same-origin' as const },
  referrerPolicy: { policy: 'no-referrer' as const },
  strictTransportSecurity:
    config.hostSocket === undefined ? { maxAge: 31_536_000, includeSubDomains: false } : (false as const),
  xFrameOptions: { action: 'deny' as const },
});
