/**
 * Holdfast's engine on an S3 server (s3rver, in this process) on the loopback address: `node scripts/bench/s3.ts FOLDER`. Without restic:
 * s3rver keeps the signatures of its chunked uploads as part of the objects, and restic cannot read them back.
 */
import { startS3Server } from '../../test/helpers/s3-server.ts';
import { benchOnTarget } from './on-target.ts';

const server = await startS3Server();
await benchOnTarget({
  place: async (name) => ({ config: server.config(name), stored: server.folder(name) }),
  stop: () => server.stop(),
});
