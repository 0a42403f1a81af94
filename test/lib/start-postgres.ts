/** Started by a test under another account: starts PostgreSQL in the given folder, asks it who it is, stops it. */
import { join } from 'node:path';
import { ADMIN_ROLE, socketAddress, startPostgres, withClient } from '../../server/lib/postgres/index.ts';

const [folder = ''] = process.argv.slice(2);
const socketDir = join(folder, 'run', 'pg');
const server = await startPostgres({
  clusterDir: join(folder, 'postgres'),
  socketDir,
  logFile: join(folder, 'postgres.log'),
});
const answer = await withClient(socketAddress(socketDir, ADMIN_ROLE, 'postgres'), 'test', async (client) => {
  const result = await client.query<{ who: string }>('select current_user as who');
  return result.rows[0]?.who;
});
process.stdout.write(`${JSON.stringify({ answer, kind: server.accountKind })}\n`);
await server.stop();
