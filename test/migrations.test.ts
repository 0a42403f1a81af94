import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterEach, describe, expect, it } from 'vitest';
import { openDatabase } from '../server/lib/db.ts';
import { listMigrations, migrate } from '../server/lib/migrate.ts';
import { createEmptyDatabase, type TestDatabase } from './helpers/postgres.ts';

const folder = join(import.meta.dirname, '..', 'server', 'migrations');
const golden = join(import.meta.dirname, 'golden', 'migrations.json');
let open: TestDatabase | undefined;

afterEach(async () => {
  await open?.drop();
  open = undefined;
});

describe('migrations', () => {
  it('are frozen once they have landed: each has the hash it had then', () => {
    const frozen = JSON.parse(readFileSync(golden, 'utf8')) as Record<string, string>;
    const present = Object.fromEntries(readdirSync(folder).map((name) => [name, hashOf(name)]));

    expect(present).toEqual(frozen);
  });

  it('import nothing of ours', () => {
    const imports = readdirSync(folder).filter((name) =>
      readFileSync(join(folder, name), 'utf8').includes(" from '."),
    );

    expect(imports).toEqual([]);
  });

  it('run once when twenty processes start at the same time', async () => {
    open = await createEmptyDatabase();
    const connections = Array.from({ length: 20 }, () =>
      openDatabase(open?.adminAddress ?? never(), { name: 'test', max: 1 }),
    );

    const reports = await Promise.all(connections.map(migrate));
    await Promise.all(connections.map((db) => db.destroy()));

    expect(reports.flatMap((report) => report.applied).sort()).toEqual(await listMigrations());
  });

  it('let an older version start on a newer schema only when that says that it may', async () => {
    open = await createEmptyDatabase();
    const db = openDatabase(open.adminAddress, { name: 'test', max: 1 });
    await migrate(db);
    const newest = (await listMigrations()).at(-1);
    await sql`insert into migrations (name, works_with) values ('9998-that-adds', ${newest})`.execute(db);

    const allowed = await migrate(db);
    await sql`insert into migrations (name, works_with) values ('9999-that-takes-away', '9998-that-adds')`.execute(
      db,
    );
    const refused = migrate(db);

    expect(allowed).toMatchObject({ applied: [], ahead: ['9998-that-adds'] });
    await expect(refused).rejects.toMatchObject({ code: 'wrong_state' });
    await db.destroy();
  });

  it('refuse a schema that a newer version wrote, and change nothing', async () => {
    open = await createEmptyDatabase();
    const db = openDatabase(open.adminAddress, { name: 'test', max: 1 });
    await migrate(db);
    await sql`insert into migrations (name) values ('9999-from-the-future')`.execute(db);

    const refused = migrate(db);

    await expect(refused).rejects.toMatchObject({
      code: 'wrong_state',
      message: expect.stringContaining('newer version') as string,
    });
    await db.destroy();
  });
});

function hashOf(name: string): string {
  return createHash('sha256')
    .update(readFileSync(join(folder, name)))
    .digest('hex');
}

function never(): never {
  throw new Error('no database');
}
