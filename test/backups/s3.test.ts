import dns from 'node:dns';
import { syncBuiltinESMExports } from 'node:module';
import { afterAll, beforeAll, vi } from 'vitest';
import type { S3Config } from '../../server/backups/engine.ts';
import { openTarget } from '../../server/backups/targets/open-target.ts';
import { startS3Server, type S3Server } from '../helpers/s3-server.ts';
import { describeTarget } from './target-conformance.ts';

vi.setConfig({ testTimeout: 60_000 });

let server: S3Server;
let places = 0;

beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server.stop());

describeTarget('s3 (s3rver)', () => {
  let config: S3Config;
  const reopen = () => openTarget(config);
  return {
    async open() {
      config = server.config(`place-${String(++places)}/repository`);
      return reopen();
    },
    reopen,
    dispose: async () => undefined,
  };
});

/** As a name server answers in the networks where buckets are names: `<bucket>.s3.localhost` is this machine (RFC 6761, 6.3). */
function answerForBuckets(): () => void {
  const { lookup } = dns;
  const answer = (name: string, ...rest: unknown[]) => {
    Reflect.apply(lookup, dns, [name.endsWith('.localhost') ? '127.0.0.1' : name, ...rest]);
  };
  dns.lookup = Object.assign(answer, { __promisify__: lookup.__promisify__ });
  syncBuiltinESMExports();
  return () => {
    dns.lookup = lookup;
    syncBuiltinESMExports();
  };
}

describeTarget('s3 (s3rver), with the bucket in the name of the host', () => {
  let config: S3Config;
  let restore: () => void = () => undefined;
  const reopen = () => openTarget(config);
  return {
    async open() {
      restore = answerForBuckets();
      const endpoint = `http://s3.localhost:${String(server.port)}`;
      config = server.config(`place-${String(++places)}/repository`, { endpoint, pathStyle: false });
      return reopen();
    },
    reopen,
    dispose: async () => restore(),
  };
});
