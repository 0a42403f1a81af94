/**
 * Tries this version's migrations on a database that somebody restored to scratch, and says on one line what came of it. The
 * installed version starts it out of a bundle before an update, so its command line and answer never change their meaning:
 * `--socket FOLDER --role NAME --database NAME`; `{ format, version, applied, durationMs, error? }`.
 */
import { parseArgs } from 'node:util';
import { systemClock } from './lib/clock.ts';
import { openDatabase } from './lib/db.ts';
import { HoldfastError, messageOf } from './lib/errors.ts';
import { migrate } from './lib/migrate.ts';
import { grantAppRights, socketAddress, withClient } from './lib/postgres/index.ts';
import { SOFTWARE_VERSION } from './lib/version.ts';

const { values } = parseArgs({
  options: { socket: { type: 'string' }, role: { type: 'string' }, database: { type: 'string' } },
});
const address = socketAddress(values.socket ?? '', values.role ?? '', values.database ?? '');
const startedAt = systemClock.monotonicMs();
const answer = await rehearse();
process.stdout.write(`${JSON.stringify(answer)}\n`);
process.exitCode = 'error' in answer ? 1 : 0;

async function rehearse() {
  const common = () => ({
    format: 1,
    version: SOFTWARE_VERSION,
    durationMs: Math.round(systemClock.monotonicMs() - startedAt),
  });
  const db = openDatabase(address, { name: 'holdfast rehearsal', max: 1 });
  try {
    const { applied } = await migrate(db);
    await withClient(address, 'holdfast rehearsal', grantAppRights);
    return { ...common(), applied };
  } catch (error) {
    const hint = error instanceof HoldfastError ? ` ${error.detail ?? error.hint ?? ''}` : '';
    return { ...common(), applied: [], error: `${messageOf(error)}${hint}`.slice(0, 1_000) };
  } finally {
    await db.destroy();
  }
}
