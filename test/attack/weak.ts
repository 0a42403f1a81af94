/**
 * What is made weak on purpose, for the attacks alone: if the judges find nothing here, that they find nothing in the appliance tells
 * nothing.
 */
import { createServer } from 'node:https';
import type { Server } from 'node:net';
import { readFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { createServer as createTlsServer } from 'node:tls';
import type { Certificates } from './place.ts';
import { networkPart } from './relay.ts';
import type { Answer, Target } from './verdict.ts';

export interface WeakTarget extends Target {
  close(): Promise<void>;
}

export const WEAK_PAGE = '<html>the one page</html>';
export const WEAK_PASSWORD = 'right and late';

/** Puts what it is asked into its SQL, shows what it should not, lets everybody guess, and keeps slow connections for ever. */
export async function startWeakServer(certificates: Certificates): Promise<WeakTarget> {
  const pair = readPair(certificates);
  const database = new DatabaseSync(':memory:');
  database.exec(
    "create table items (id integer, name text); insert into items values (1, 'one'), (2, 'two')",
  );
  const answers: Answer[] = [];
  const server = createServer(
    { ...pair, minVersion: 'TLSv1.3', headersTimeout: 0, requestTimeout: 0 },
    (request, reply) => {
      const url = new URL(request.url ?? '/', 'https://localhost');
      const address = request.socket.remoteAddress ?? null;
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        const [status, text] = answer(url, Buffer.concat(parts).toString(), database);
        answers.push({ method: request.method ?? '', route: url.pathname, status, address, code: null });
        reply.writeHead(status, { 'content-type': 'text/html' }).end(text);
      });
    },
  );
  // Node closes what it has no place for.
  server.maxConnections = 60;
  const port = await listen(server);
  return {
    ...{
      port,
      authority: readFileSync(certificates.authorityFile, 'utf8'),
      authorityFile: certificates.authorityFile,
    },
    answersTo: async (address) => answers.filter((one) => networkPart(one.address ?? '', address)),
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      database.close();
    },
  };
}

function answer(url: URL, body: string, database: DatabaseSync): [number, string] {
  if (url.pathname === '/items') {
    try {
      const rows = database
        .prepare(`select name from items where id = ${url.searchParams.get('id') ?? '1'}`)
        .all();
      return [200, `<html>${JSON.stringify(rows)}</html>`];
    } catch (error) {
      return [200, `<html>ERROR:  syntax error at or near "${String(error)}" LINE 1: select</html>`];
    }
  }
  if (url.pathname === '/backup.zip') return [200, 'everything'];
  if (url.pathname === '/broken') return [500, 'oh'];
  if (url.pathname === '/api/v1/session')
    return body.includes(WEAK_PASSWORD) ? [201, 'welcome'] : [401, 'no'];
  return [200, WEAK_PAGE];
}

/** Speaks TLS 1.0 and nothing newer. */
export async function startOldTls(
  certificates: Certificates,
): Promise<{ port: number; close(): Promise<void> }> {
  const options = { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: 'ALL:@SECLEVEL=0' } as const;
  const server = createTlsServer({ ...readPair(certificates), ...options }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
  });
  server.on('tlsClientError', () => undefined);
  const port = await listen(server);
  return { port, close: () => new Promise((resolve) => server.close(() => resolve())) };
}

function readPair({ certificateFile, keyFile }: Certificates): { cert: string; key: string } {
  return { cert: readFileSync(certificateFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
}

async function listen(server: Pick<Server, 'listen' | 'address'>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}
