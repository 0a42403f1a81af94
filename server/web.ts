/** Serves the built web interface; every path that is no file is the one page, which finds its way itself. */
import { join } from 'node:path';
import { existsSync } from 'node:fs';
import fastifyStatic from '@fastify/static';
import type { FastifyPluginAsync } from 'fastify';
import { HoldfastError } from './lib/errors.ts';

const BUILT = join(import.meta.dirname, '..', 'web', 'dist');

/** No address of the page has a dot: who asks for a file that is not there should hear so. */
function isNoPage(url: string): boolean {
  const [path = ''] = url.split('?', 1);
  return /^\/(api|health)\//.test(path) || path.includes('.');
}

export function webRoutes(): FastifyPluginAsync {
  return async (app) => {
    if (!existsSync(join(BUILT, 'index.html'))) {
      app.get('/', () => {
        throw new HoldfastError('unavailable', 'The web interface is not built', {
          hint: 'Run `node scripts/build-web.ts`, or start with `npm start`, which does.',
        });
      });
      return;
    }
    await app.register(fastifyStatic, {
      root: BUILT,
      wildcard: false,
      index: false,
      setHeaders: (reply, path) => {
        const named = path.includes('/assets/');
        reply.header('cache-control', named ? 'public, max-age=31536000, immutable' : 'no-cache');
      },
    });
    app.get('/*', (request, reply) => {
      if (isNoPage(request.url)) {
        throw new HoldfastError('not_found', 'There is nothing at this address');
      }
      return reply.header('cache-control', 'no-cache').sendFile('index.html', { cacheControl: false });
    });
  };
}
