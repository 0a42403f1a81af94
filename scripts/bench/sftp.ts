/** Holdfast's engine on an OpenSSH server on the loopback address: `node scripts/bench/sftp.ts FOLDER`. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startSftpServer } from '../../test/helpers/sftp-server.ts';
import { benchOnTarget } from './on-target.ts';

const server = await startSftpServer();
await benchOnTarget({
  place: async (name) => {
    const stored = await server.makeFolder(name);
    return { config: server.config(stored), stored };
  },
  restic: async (folder) => {
    const stored = await server.makeFolder('restic');
    const keyFile = join(folder, 'key');
    writeFileSync(keyFile, server.privateKey, { mode: 0o600 });
    const ssh = [
      ...['ssh', '-p', String(server.port), '-i', keyFile, '-o', 'IdentitiesOnly=yes'],
      ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR'],
      ...[`${server.username}@127.0.0.1`, '-s', 'sftp'],
    ].join(' ');
    const place = `sftp:${server.username}@127.0.0.1:${stored}`;
    return { stored, args: ['-r', place, '-o', `sftp.command=${ssh}`], env: {} };
  },
  stop: () => server.stop(),
});
