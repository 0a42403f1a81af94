/**
 * What answers on the HTTPS port while an appliance is recovered onto this machine and its server does not run: how far it is, for
 * people (HTML that its one script keeps up to date) and for the page from which it was started (JSON). Takes nothing from anybody,
 * knows no secret.
 */
import { hostname } from 'node:os';
import helmet from '@fastify/helmet';
import fastify, { type FastifyInstance } from 'fastify';
import { HoldfastError } from '../../../lib/errors.ts';
import { installErrorReplies, newRequestId } from '../../../lib/http.ts';
import type { Logger } from '../../../lib/log.ts';
import { PAGE_SECURITY } from '../unlock/app.ts';
import { escapeHtml, PAGE_STYLE } from '../unlock/page.ts';
import type { RecoveryStatus } from './schema.ts';
import { describeRecovery } from './words.ts';

interface PageOptions {
  tls: { certificate: string; key: string };
  log: Logger;
  /** Asks hostd. */
  status(): Promise<RecoveryStatus>;
}

const TIMEOUT_MS = 20_000;
const LOOK_AGAIN_SECONDS = 5;
const { contentSecurityPolicy } = PAGE_SECURITY;
const SECURITY = {
  ...PAGE_SECURITY,
  contentSecurityPolicy: {
    ...contentSecurityPolicy,
    directives: { ...contentSecurityPolicy.directives, scriptSrc: ["'self'"], connectSrc: ["'self'"] },
  },
};
/** Not a refresh of the whole page: whoever reads it, or has it read out, would lose the place. */
const SCRIPT = `const lookAgain = async () => {
  try {
    const answer = await fetch(location.href, { headers: { accept: 'text/html' } });
    const next = new DOMParser().parseFromString(await answer.text(), 'text/html').getElementById('recovery');
    const here = document.getElementById('recovery');
    if (next === null) location.reload();
    else if (next.innerHTML !== here.innerHTML) here.replaceChildren(...next.childNodes);
  } catch {
    // Services change over.
  }
  setTimeout(lookAgain, ${String(LOOK_AGAIN_SECONDS * 1000)});
};
setTimeout(lookAgain, ${String(LOOK_AGAIN_SECONDS * 1000)});
`;

/** The address at which the server, too, says how far a recovery is. */
export const RECOVERY_ADDRESS = '/api/v1/setup/recovery';

export async function buildRecoveryPage(options: PageOptions): Promise<FastifyInstance> {
  const { tls, log } = options;
  const app = fastify({
    loggerInstance: log.child({}, { level: log.level === 'silent' ? 'silent' : 'warn' }),
    genReqId: newRequestId,
    bodyLimit: 1024,
    requestTimeout: TIMEOUT_MS,
    connectionTimeout: TIMEOUT_MS,
    trustProxy: false,
    forceCloseConnections: true,
    https: { cert: tls.certificate, key: tls.key, minVersion: 'TLSv1.3', headersTimeout: TIMEOUT_MS },
  }) as unknown as FastifyInstance;
  await app.register(helmet, SECURITY);
  let last: RecoveryStatus | undefined;
  // hostd may be starting anew; what it said last still holds.
  const status = async (): Promise<RecoveryStatus> => {
    try {
      return (last = await options.status());
    } catch (error) {
      if (last === undefined) throw error;
      return last;
    }
  };
  app.addHook('onRequest', async (_request, reply) => void reply.header('cache-control', 'no-store'));
  app.get(RECOVERY_ADDRESS, async () => ({ machine: true, tpm: false, status: await status() }));
  app.get('/recovery.css', (_request, reply) =>
    reply.type('text/css; charset=utf-8').send(`${PAGE_STYLE}.again { color: inherit; }\n`),
  );
  app.get('/recovery.js', (_request, reply) => reply.type('text/javascript; charset=utf-8').send(SCRIPT));
  for (const path of ['/health', '/health/live', '/health/ready'])
    app.get(path, (_request, reply) => reply.status(503).send({ status: 'recovering' }));
  installErrorReplies(app);
  // Whatever was bookmarked. Not redirected: once the recovery is over, the same address is a page of the appliance.
  app.get('/*', async (request, reply) => {
    if (request.headers.accept?.includes('text/html') !== true) {
      throw new HoldfastError('unavailable', 'An appliance is being recovered onto this machine', {
        hint: 'It answers when that is over.',
      });
    }
    return reply.type('text/html; charset=utf-8').send(renderRecoveryPage(await status(), hostname()));
  });
  return app;
}

function renderRecoveryPage(status: RecoveryStatus, hostName: string): string {
  const [title = '', ...sentences] = describeRecovery(status);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)} · Holdfast</title>
<link rel="stylesheet" href="/recovery.css">
<script src="/recovery.js" defer></script>
</head>
<body>
<main>
<p class="product">Holdfast · ${escapeHtml(hostName)}</p>
<div id="recovery" aria-live="polite">
<h1>${escapeHtml(title)}</h1>
${sentences.map((sentence) => `<p>${escapeHtml(sentence)}</p>`).join('\n')}
</div>
<p class="note">This page looks again every ${LOOK_AGAIN_SECONDS} seconds.</p>
<p><a class="again" href="">Look again now</a></p>
</main>
</body>
</html>
`;
}
