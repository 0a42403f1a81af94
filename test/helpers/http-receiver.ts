/** A real HTTP server that receives calls and behaves as it is told: well, with a status, elsewhere, slowly, not at all, or as no HTTP. */
import { createServer as createHttpServer, type IncomingHttpHeaders } from 'node:http';
import { createServer, type AddressInfo, type Server } from 'node:net';

export type Behaviour =
  | { status: number; headers?: Record<string, string>; endless?: boolean }
  /** Takes the request and says nothing. */
  | 'hang'
  /** Cuts the connection after the request. */
  | 'reset';

export interface ReceivedCall {
  method: string;
  /** With its query. */
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface HttpReceiver {
  url: string;
  calls: ReceivedCall[];
  behave(behaviour: Behaviour): void;
  close(): Promise<void>;
}

export async function startHttpReceiver(first: Behaviour = { status: 200 }): Promise<HttpReceiver> {
  let behaviour = first;
  const calls: ReceivedCall[] = [];
  const server = createHttpServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const { method = '', url: path = '', headers } = request;
      calls.push({ method, path, headers, body: Buffer.concat(parts).toString('utf8') });
      if (behaviour === 'hang') return;
      if (behaviour === 'reset') return void request.socket.destroy();
      response.writeHead(behaviour.status, behaviour.headers);
      if (behaviour.endless !== true) return void response.end();
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536, 'x')));
      };
      response.on('drain', more).on('error', () => undefined);
      more();
    });
  });
  return {
    ...{ url: `http://127.0.0.1:${await listen(server)}`, calls },
    behave: (next) => (behaviour = next),
    close: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

/** Answers each connection with bytes that are no HTTP. */
export async function startGarbage(bytes: Buffer): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined).resume();
    socket.end(bytes);
  });
  return {
    url: `http://127.0.0.1:${await listen(server)}`,
    close: async () => {
      await new Promise((done) => server.close(done));
    },
  };
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return (server.address() as AddressInfo).port;
}
