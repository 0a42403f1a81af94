/**
 * An S3 server on a loopback port that other people wrote (s3rver), and one that breaks what passes through it. s3rver keeps no
 * versions, knows no conditional writes, no locks and no checksums; `test/s3-lock/run.ts` tries all that on moto.
 */
import { createHash, createHmac } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { S3Config } from '../../server/backups/engine.ts';

interface S3rverOptions {
  port: number;
  address: string;
  silent: boolean;
  directory: string;
  /** Names below it, with s3 in front, hold the bucket's. */
  serviceEndpoint: string;
  configureBuckets: { name: string }[];
}
type S3rver = new (options: S3rverOptions) => { run(): Promise<AddressInfo>; close(): Promise<void> };

/** The keys that s3rver knows. */
const KEY = { kind: 'access-key', accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' } as const;
const BUCKET = 'holdfast-test';

export interface S3Server {
  endpoint: string;
  port: number;
  /** Of a place of its own in the bucket. */
  config(prefix: string, change?: Partial<S3Config>): S3Config;
  /** Where the server keeps what lies below a prefix. */
  folder(prefix: string): string;
  /** Names of files below a prefix as they lie on the server's disk. */
  files(prefix: string): Promise<string[]>;
  stop(): Promise<void>;
}

export async function startS3Server(): Promise<S3Server> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-s3-'));
  const S3rver = createRequire(import.meta.url)('s3rver') as S3rver;
  const server = new S3rver({
    ...{ port: 0, address: '127.0.0.1', silent: true, directory, serviceEndpoint: 'localhost' },
    configureBuckets: [{ name: BUCKET }],
  });
  const { port } = await server.run();
  const endpoint = `http://127.0.0.1:${String(port)}`;
  return {
    ...{ endpoint, port },
    config: (prefix, change) => ({
      ...{
        kind: 's3',
        endpoint,
        region: 'us-east-1',
        bucket: BUCKET,
        prefix,
        pathStyle: true,
        ownMachine: true,
        signIn: KEY,
      },
      ...change,
    }),
    folder: (prefix) => join(directory, BUCKET, prefix),
    files: async (prefix) => {
      const below = join(directory, BUCKET, prefix);
      const names = await readdir(below, { recursive: true }).catch(() => []);
      return names.filter((name) => name.endsWith('._S3rver_object')).map((name) => name.slice(0, -15));
    },
    async stop() {
      await server.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** What befalls a request; without a word it passes. */
export type Mishap =
  | { kind: 'answer'; status: number; body?: string; headers?: Record<string, string> }
  /** The server does it, and the connection is cut before it is told. */
  | { kind: 'cut-after' }
  | { kind: 'cut-before' }
  /** The answer ends after so many bytes. */
  | { kind: 'short'; bytes: number }
  /** The last byte of the answer is another. */
  | { kind: 'garbled' }
  /** Nothing comes any more. */
  | { kind: 'silent' }
  /** The server does it, and closes its side without a word; the other side stays open. */
  | { kind: 'half-closed' }
  /** The answer comes late. */
  | { kind: 'slow'; ms: number }
  /** What the same address answered first, as a listing does that lags behind. Passes where nothing was answered yet. */
  | { kind: 'stale' };

export interface BadLine {
  endpoint: string;
  /** Decides for each request. */
  strike: (request: {
    method: string;
    url: string;
    headers: IncomingMessage['headers'];
  }) => Mishap | undefined;
  /** Told of each that was done: an empty answer cannot be garbled, nor what is no listing, or says the same, lag behind. */
  befell: () => void;
  requests: { method: string; url: string; headers: IncomingMessage['headers'] }[];
  /** What the server's clock says. */
  now: () => Date;
  stop(): Promise<void>;
}

/** Passes requests on, with the host of the server behind it, so that signatures hold only when the client signs for that host. */
export async function startBadLine(to: { port: number }): Promise<BadLine> {
  const line: BadLine = {
    ...{ endpoint: '', strike: () => undefined, requests: [], stop: async () => undefined },
    ...{ now: () => new Date(), befell: () => undefined },
  };
  const firstAnswers = new Map<string, Buffer>();
  const server = createServer((incoming, outgoing) => {
    const seen = { method: incoming.method ?? '', url: incoming.url ?? '', headers: incoming.headers };
    line.requests.push(seen);
    const date = line.now().toUTCString();
    const befell = (): void => line.befell();
    pass({ incoming, outgoing, port: to.port, mishap: line.strike(seen), befell, date, firstAnswers });
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  line.endpoint = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  line.stop = () => close(server);
  return line;
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((closed) => server.close(() => closed()));
}

interface Passing {
  incoming: IncomingMessage;
  outgoing: ServerResponse;
  port: number;
  mishap: Mishap | undefined;
  befell: () => void;
  date: string;
  /** Of listings, by their address. */
  firstAnswers: Map<string, Buffer>;
}

/** As S3 does, only what came whole is taken; s3rver alone would keep the half of an upload that was cut. */
function pass(passing: Passing): void {
  const { incoming, outgoing, mishap, befell, date } = passing;
  if (mishap !== undefined && mishap.kind !== 'garbled' && mishap.kind !== 'stale') befell();
  if (mishap?.kind === 'cut-before') incoming.socket.destroy();
  if (mishap?.kind === 'cut-before' || mishap?.kind === 'silent') return;
  const sent: Buffer[] = [];
  incoming.on('data', (piece: Buffer) => sent.push(piece));
  incoming.on('end', () => {
    if (mishap?.kind === 'answer') {
      outgoing.writeHead(mishap.status, { date, ...mishap.headers });
      outgoing.end(mishap.body ?? '');
    } else if (incoming.complete) passOn(passing, Buffer.concat(sent));
  });
}

function passOn(passing: Passing, sent: Buffer): void {
  const { incoming, outgoing, port, mishap, befell, date, firstAnswers } = passing;
  const { method, url, headers } = incoming;
  const others = { ...headers };
  delete others.expect;
  const onward = request({ host: '127.0.0.1', port, method, path: url, headers: others }, (answer) => {
    const pieces: Buffer[] = [];
    answer.on('data', (piece: Buffer) => pieces.push(piece));
    answer.on('end', () => {
      let body: Buffer = Buffer.concat(pieces);
      if (mishap?.kind === 'cut-after') return void incoming.socket.destroy();
      if (mishap?.kind === 'half-closed') return void incoming.socket.end();
      const address = url ?? '';
      if (address.includes('list-type')) {
        if (mishap?.kind === 'stale') {
          const fresh = body;
          body = firstAnswers.get(address) ?? body;
          if (!body.equals(fresh)) befell();
        } else if (!firstAnswers.has(address)) firstAnswers.set(address, body);
      }
      if (mishap?.kind === 'garbled' && body.length > 0) {
        befell();
        body.writeUInt8((body.at(-1) ?? 0) ^ 1, body.length - 1);
      }
      const said = {
        ...answer.headers,
        date,
        ...(mishap?.kind === 'stale' ? { 'content-length': body.length } : {}),
      };
      outgoing.writeHead(answer.statusCode ?? 502, said);
      if (mishap?.kind === 'slow') return void setTimeout(() => outgoing.end(body), mishap.ms);
      if (mishap?.kind !== 'short') return void outgoing.end(body);
      outgoing.write(body.subarray(0, mishap.bytes), () => incoming.socket.destroy());
    });
  });
  onward.on('error', () => incoming.socket.destroy());
  onward.end(sent);
}

/**
 * The signature that AWS describes ("Signature Version 4 signing process"), computed here from what arrived, because s3rver believes
 * any.
 */
export function signatureOf(
  { method, url, headers }: { method: string; url: string; headers: IncomingMessage['headers'] },
  secret: string,
): { said: string; computed: string } {
  const said = headers.authorization ?? '';
  const [, scope = '', names = '', signature = ''] =
    /Credential=[^/]+\/([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(said) ?? [];
  const [path = '', query = ''] = url.split('?');
  const canonical = [
    ...[method, path, query.split('&').sort().join('&')],
    ...names.split(';').map((name) => `${name}:${String(headers[name]).trim()}`),
    ...['', names, String(headers['x-amz-content-sha256'])],
  ].join('\n');
  const hash = createHash('sha256').update(canonical).digest('hex');
  const text = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, hash].join('\n');
  const hmac = (key: string | Buffer, data: string) => createHmac('sha256', key).update(data).digest();
  const key = scope.split('/').reduce<string | Buffer>((from, part) => hmac(from, part), `AWS4${secret}`);
  return { said: signature, computed: hmac(key, text).toString('hex') };
}
