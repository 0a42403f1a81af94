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
