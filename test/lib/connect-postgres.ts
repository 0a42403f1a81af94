/** Started by a test under another account: tries to connect, and says what came of it. */
import { messageOf } from '../../server/lib/errors.ts';
import { ADMIN_ROLE, socketAddress, withClient } from '../../server/lib/postgres/index.ts';

const [socketDir = ''] = process.argv.slice(2);
try {
  await withClient(socketAddress(socketDir, ADMIN_ROLE, 'postgres'), 'test', (client) =>
    client.query('select 1'),
  );
  process.stdout.write('connected\n');
} catch (error) {
  process.stdout.write(`${messageOf(error)}\n`);
}
