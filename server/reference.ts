/**
 * The description of the API, and the page that shows it. The page has the power of a key that is typed into it and no other: it
 * sends no cookie, so that nothing there is done with the session of whoever reads. The key stays in that page's memory.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance, RouteOptions } from 'fastify';
import { openToEveryone, RIGHTS } from './identity/index.ts';
import { REFERENCE_POLICY } from './lib/door/index.ts';
import { SOFTWARE_VERSION } from './lib/version.ts';

const DESCRIPTION = [
  'Programs come with `Authorization: Bearer hf_…`, an API key that a person makes under API keys; people come with the cookie of',
  'their session, and then every request that changes something carries the header `x-holdfast: 1`.',
  'Errors: `{ error: { code, message, hint?, requestId } }`.',
].join(' ');

const SCHEMES = {
  apiKey: {
    type: 'http' as const,
    scheme: 'bearer',
    description:
      'An API key. It does what it was given and what its person may do; this page forgets it when it is left.',
  },
  session: {
    type: 'apiKey' as const,
    in: 'cookie' as const,
    name: '__Host-holdfast',
    description: 'A signed-in person. Not sent by this page.',
  },
};

export async function registerReference(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Holdfast', version: SOFTWARE_VERSION, description: DESCRIPTION },
      components: { securitySchemes: SCHEMES },
    },
    transform: ({ schema, url, route }) => {
      const tags = (schema as { tags?: string[] } | undefined)?.tags?.map((tag) => tag.toLowerCase());
      return { schema: { ...schema, ...(tags && { tags }), security: waysIn(route.config) }, url };
    },
  });
  await app.register(async (scope) => {
    openToEveryone(scope);
    // Made once: it is large, and everybody may ask for it.
    let description: string | undefined;
    scope.get('/api/openapi.json', { schema: { hide: true } }, (_request, reply) => {
      description ??= JSON.stringify(app.swagger());
      return reply.type('application/json; charset=utf-8').send(description);
    });
    const part = (name: string) => readFileSync(join(import.meta.dirname, 'lib', 'reference', name), 'utf8');
    const mark = part('mark.svg');
    await scope.register(swaggerUi, {
      routePrefix: '/api/docs',
      staticCSP: REFERENCE_POLICY,
      uiConfig: {
        docExpansion: 'none',
        filter: true,
        tagsSorter: 'alpha',
        persistAuthorization: false,
        tryItOutEnabled: false,
        requestInterceptor: withoutCookie,
      },
      theme: {
        title: 'Holdfast API',
        favicon: [{ filename: 'mark.svg', rel: 'icon', type: 'image/svg+xml', sizes: 'any', content: mark }],
        css: [{ filename: 'reference.css', content: part('page.css') }],
        js: [{ filename: 'name.js', content: part('name.js') }],
      },
      logo: { type: 'image/svg+xml', content: mark },
    });
  });
}

/** How one comes through a route: nobody needs to be anybody, or a person, or a program too. */
function waysIn(config: RouteOptions['config']): Record<string, string[]>[] {
  const { access, stepUp } = config ?? {};
  if (typeof access !== 'object') return [];
  const person = { session: [] };
  return RIGHTS[access.right].apiKeys && stepUp !== true ? [{ apiKey: [] }, person] : [person];
}

/** Runs in the page, so it uses nothing from here. */
function withoutCookie(request: { credentials?: string }): object {
  request.credentials = 'omit';
  return request;
}
