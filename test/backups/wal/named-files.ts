/** What a recovered data folder holds, by its own database. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dataPaths } from '../../../server/lib/data-folder.ts';
import { DATABASE_NAME } from '../../../server/lib/database-setup.ts';
import { ADMIN_ROLE, socketAddress, startPostgres, withClient } from '../../../server/lib/postgres/index.ts';

/** Every stored file that the database names, compared with what lies in the store. */
export async function namedFiles(dataDir: string): Promise<{ files: number; whole: number }> {
  const paths = dataPaths(dataDir);
  const server = await startPostgres({
    clusterDir: paths.postgres,
    socketDir: paths.databaseSocket,
    logFile: paths.postgresLog,
  });
  try {
    const { rows } = await withClient(
      socketAddress(paths.databaseSocket, ADMIN_ROLE, DATABASE_NAME),
      'test',
      (client) =>
        client.query<{ id: string; sha256: string }>(
          `select content_id as id, encode(stored_sha256, 'hex') as sha256 from file_versions`,
        ),
    );
    let whole = 0;
    for (const { id, sha256 } of rows) {
      const stored = await readFile(join(paths.files, id.slice(0, 2), id));
      if (createHash('sha256').update(stored).digest('hex') === sha256) whole++;
    }
    return { files: rows.length, whole };
  } finally {
    await server.stop();
  }
}
