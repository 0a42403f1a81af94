/**
 * Brings the database up to date and gives the roles their rights, then ends: a unit of its own, before the server, under the
 * account that may connect as the schema's owner.
 */
import { loadConfig } from './lib/config.ts';
import { prepareDatabase } from './lib/database-setup.ts';
import { HoldfastError, messageOf } from './lib/errors.ts';
import { createLog } from './lib/log.ts';

const config = loadConfig();
const log = createLog(config.logLevel, 'migrate');

try {
  const report = await prepareDatabase(config);
  log.info({ ...report }, 'The database is up to date');
} catch (error) {
  const known = error instanceof HoldfastError ? { hint: error.hint, detail: error.detail } : {};
  log.fatal({ ...known, err: error }, messageOf(error));
  process.exitCode = 1;
}
