/** Whether the Holdfast that is here starts on the copy: its migrations, tried on the scratch database. */
import { fitOf } from '../../backups/index.ts';
import { openDatabase } from '../../lib/db.ts';
import { messageOf } from '../../lib/errors.ts';
import { listMigrations, migrate } from '../../lib/migrate.ts';
import { need, type Check } from '../scene.ts';

const MOST_CHARACTERS = 300;

export const schemaCheck: Check = {
  id: 'schema',
  label: 'This version of Holdfast starts on it: the migrations that bring it up to date run',
  async run(scene) {
    const database = need(scene.database, 'the recovered database');
    const expected = 'a schema that this version goes on with';
    const fit = fitOf(need(scene.snapshot, 'the snapshot'), await listMigrations());
    if (fit?.starts === false) return { passed: false, expected, found: fit.words };
    const db = openDatabase(database, { name: 'holdfast restore test', max: 1 });
    try {
      const { applied, ahead } = await migrate(db);
      const found =
        applied.length > 0
          ? tellApplied(applied)
          : ahead.length > 0
            ? 'a newer schema that this version can go on with'
            : 'the schema of this version';
      return { passed: true, expected, found };
    } catch (error) {
      return { passed: false, expected, found: messageOf(error).slice(0, MOST_CHARACTERS) };
    } finally {
      await db.destroy();
    }
  },
};

function tellApplied(names: readonly string[]): string {
  const [first = '', ...rest] = names;
  const last = rest.at(-1);
  return last === undefined
    ? `1 migration ran, ${first}`
    : `${names.length} migrations ran, from ${first} to ${last}`;
}
