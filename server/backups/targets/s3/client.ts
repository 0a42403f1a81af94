/**
 * Signed requests to one bucket. A request that failed by a passing cause is repeated, after waits that grow and differ (full
 * jitter); what a second try cannot change is told at once.
 *
 * Signing is aws4's; the rest is node:https. @see server/README.md for why no SDK.
 */
import { createHash } from 'node:crypto';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import aws4 from 'aws4';
import type { LookupFunction } from 'node:net';
import { outgoingProxy } from '../../../lib/config.ts';
import { pinnedLookup, resolveOutgoing } from '../../../lib/outgoing-address.ts';
import type { S3Config } from '../../engine.ts';
import { openTurn } from '../pace.ts';
import { openCredentials } from './credentials.ts';
import { exchange, type Answer, type AnswerHead } from './exchange.ts';
import { isExpired, isPassing, S3Refusal, S3Silence } from './failures.ts';
import type { S3Limits } from './limits.ts';
import { textOf } from './xml.ts';

export interface S3Call {
  method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  /** Whole, with the prefix; without it the call is about the bucket. */
  key?: string;
  query?: Record<string, string>;
  headers?: Record<string, string>;
  body?: readonly Uint8Array[];
  /** Hex, of the body, where it is known. */
  sha256?: string;
  take?: (answer: AnswerHead) => (piece: Buffer) => void;
  /** Bytes that are expected to come, for the time limit. */
  expectedBytes?: number;
  attempts?: number;
}

export interface S3Answer extends Answer {
  /** An earlier attempt got no answer: the server may have done it then. */
  again: boolean;
}

export interface S3Client {
  /** @throws S3Refusal, S3Silence; HoldfastError when the machine has no role. */
  send(call: S3Call): Promise<S3Answer>;
  /** The server's clock by its newest answer, whatever that was. */
  serverDate(): Date | undefined;
  close(): void;
}

/** Requests that may share a limit at the same time, at most. */
const SENDERS = 32;
const EMPTY_SHA256 = createHash('sha256').digest('hex');

export function openS3Client(config: S3Config, limits: S3Limits): S3Client {
  const credentials = openCredentials(config);
  const secure = config.endpoint.startsWith('https:');
  const proxyEnv = outgoingProxy();
  const pool = {
    ...(proxyEnv === undefined ? { lookup: lookupOutgoing(config) } : { proxyEnv }),
    keepAlive: true,
    maxSockets: limits.atOnce * 2,
    scheduling: 'lifo' as const,
  };
  const agent = secure
    ? new HttpsAgent({ ...pool, ...(config.ca === undefined ? {} : { ca: config.ca }) })
    : new HttpAgent(pool);
  const turn = openTurn(config.pace);
  const slowest = slowestOf(config, limits);
  let date: Date | undefined;

  const once = async (call: S3Call): Promise<Answer> => {
    const body = call.body ?? [];
    const length = body.reduce((sum, part) => sum + part.length, 0);
    const signed = sign(config, call, length, await credentials.take());
    const bytes = Math.max(length, call.expectedBytes ?? 0);
    const answer = await exchange({
      url: signed.url,
      agent,
      method: call.method,
      headers: signed.headers,
      body,
      ...{ take: call.take, turn },
      stallMs: limits.stallMs,
      limitMs: limits.requestMs + (bytes / slowest) * 1000,
    });
    date = dateOf(answer) ?? date;
    if (answer.status >= 200 && answer.status < 300) return answer;
    throw refusalOf(answer);
  };

  return {
    async send(call) {
      let again = false;
      let renewed = false;
      for (let attempt = 1; ; attempt++) {
        try {
          return { ...(await once(call)), again };
        } catch (error) {
          if (isExpired(error) && credentials.renew !== undefined && !renewed) {
            renewed = true;
            credentials.renew();
            continue;
          }
          if (!isPassing(error) || attempt >= (call.attempts ?? limits.attempts)) {
            if (again && error instanceof Error) Object.assign(error, { again });
            throw error;
          }
          again ||= error instanceof S3Silence || (error instanceof S3Refusal && error.status >= 500);
          const most = Math.min(limits.longestWaitMs, limits.firstWaitMs * 2 ** (attempt - 1));
          await sleep(Math.random() * most);
        }
      }
    },
    serverDate: () => date,
    close: () => agent.destroy(),
  };
}

/** What is sent slowly on purpose has the time for it: requests of several threads share what is allowed. */
function slowestOf({ pace }: S3Config, { slowestBytesPerSecond: slowest }: S3Limits): number {
  return pace === undefined ? slowest : Math.min(slowest, pace.bytesPerSecond / SENDERS);
}

/** @throws HoldfastError as `resolveOutgoing`, for a server where none may be. */
export async function checkReach(config: S3Config): Promise<void> {
  if (outgoingProxy() !== undefined) return;
  await resolveOutgoing(hostOf(config).replace(/:\d+$/, ''), config.ownMachine === true ? 'loopback' : 'no');
}

/** For every connection anew, because the addresses of large servers change within the hour; each is looked at. */
function lookupOutgoing({ ownMachine = false }: S3Config): LookupFunction {
  return (name, options, done) => {
    resolveOutgoing(name, ownMachine ? 'loopback' : 'no').then(
      (addresses) => pinnedLookup(addresses)(name, options, done),
      (error: unknown) => done(error as NodeJS.ErrnoException, ''),
    );
  };
}

function hostOf({ endpoint, bucket, pathStyle }: S3Config): string {
  const { host } = new URL(endpoint);
  return pathStyle ? host : `${bucket}.${host}`;
}

/** Whether an earlier attempt of the call that failed so may have been carried out. */
export function mayBeDone(error: unknown): boolean {
  return error instanceof Error && (error as { again?: boolean }).again === true;
}

function sign(
  config: S3Config,
  call: S3Call,
  length: number,
  key: { accessKeyId: string; secretAccessKey: string; sessionToken?: string | undefined },
): { url: URL; headers: Record<string, string> } {
  const endpoint = new URL(config.endpoint);
  const host = hostOf(config);
  const inBucket = call.key === undefined ? '' : call.key.split('/').map(encodeURIComponent).join('/');
  const path = config.pathStyle
    ? `/${config.bucket}${inBucket === '' ? '' : `/${inBucket}`}`
    : `/${inBucket}`;
  const query = new URLSearchParams(call.query ?? {}).toString().replaceAll('+', '%20');
  const full = query === '' ? path : `${path}?${query}`;
  const request = aws4.sign(
    {
      service: 's3',
      region: config.region,
      method: call.method,
      host,
      path: full,
      headers: {
        ...call.headers,
        Host: host,
        'X-Amz-Content-Sha256': call.sha256 ?? (length === 0 ? EMPTY_SHA256 : hashOf(call.body ?? [])),
        ...(call.method === 'PUT' || call.method === 'POST' ? { 'Content-Length': String(length) } : {}),
      },
    },
    {
      accessKeyId: key.accessKeyId,
      secretAccessKey: key.secretAccessKey,
      ...(key.sessionToken === undefined ? {} : { sessionToken: key.sessionToken }),
    },
  );
  const headers = Object.fromEntries(
    Object.entries(request.headers ?? {}).map(([name, value]) => [name, String(value)]),
  );
  return { url: new URL(full, `${endpoint.protocol}//${host}`), headers };
}

export function hashOf(
  parts: readonly Uint8Array[],
  encoding: 'hex' | 'base64' = 'hex',
  algorithm: 'sha256' | 'md5' = 'sha256',
): string {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest(encoding);
}

function dateOf({ headers }: AnswerHead): Date | undefined {
  const at = Date.parse(headers.date ?? '');
  return Number.isNaN(at) ? undefined : new Date(at);
}

function refusalOf(answer: Answer): S3Refusal {
  const xml = answer.body.toString('utf8');
  const error = textOf(xml, 'Code') === undefined ? '' : xml;
  const region = answer.headers['x-amz-bucket-region'];
  return new S3Refusal(
    answer.status,
    (textOf(error, 'Code') ?? '').slice(0, 100),
    textOf(error, 'Message') ?? '',
    {
      region: (typeof region === 'string' ? region : textOf(error, 'Region'))?.slice(0, 64),
      date: dateOf(answer),
    },
  );
}
