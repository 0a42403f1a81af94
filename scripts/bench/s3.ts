/** Holdfast's engine on an S3 server (s3rver, in this process) on the loopback address: `node scripts/bench/s3.ts FOLDER`. */
import { startS3Server } from '../../test/helpers/s3-server.ts';
import { benchOnTarget } from './on-target.ts';

const server = await startS3Server();
await benchOnTarget({
  place: async (name) => ({ config: server.config(name), stored: server.folder(name) }),
  restic: async () => {
    const { endpoint, bucket } = server.config('');
    return {
      stored: server.folder('restic'),
      args: ['-r', `s3:${endpoint}/${bucket}/restic`],
      env: { AWS_ACCESS_KEY_ID: 'S3RVER', AWS_SECRET_ACCESS_KEY: 'S3RVER' },
    };
  },
  stop: () => server.stop(),
});
