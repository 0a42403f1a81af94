/** What goes when its period has ended, what stays, and that nothing else can be taken for it. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { expireDueEntries } from '../../server/audit/index.ts';
import { changeRetention, readRetention } from '../../server/audit/retention.ts';
import { sequenceEntries } from '../../server/audit/sequencer.ts';
import { grantAppRights, withClient } from '../../server/lib/postgres/index.ts';
import { tool } from '../helpers/tools.ts';
import { systemActor } from '../../server/audit/actor.ts';
import { writeEntry } from './log-place.ts';
import { makeSignedLog, type SignedLog } from './signed-log.ts';

const DAY_MS = 86_400_000;
const ANY_TEXT = expect.any(String) as string;
const READ = 'workspaces.file.downloaded';

/** Acts and readings of each age, the oldest first; then signed. @returns their ids. */
async function writeAged(
  log: SignedLog,
  ages: readonly number[],
): Promise<{ acts: string[]; reads: string[] }> {
  const acts: string[] = [];
  const reads: string[] = [];
  for (const days of ages) {
    const clock = { ...log.clock, now: () => new Date(log.clock.now().getTime() - days * DAY_MS) };
    acts.push(await writeEntry(log.database.db, {}, { clock }));
    reads.push(await writeEntry(log.database.db, { action: READ, objectType: 'file' }, { clock }));
  }
  await log.sign();
  return { acts, reads };
}

async function heldIds(log: SignedLog): Promise<string[]> {
  const rows = await log.database.db.selectFrom('audit_entries').select('id').orderBy('number').execute();
  return rows.map((row) => row.id);
}

/** What Holdfast itself changes asks nobody. */
const neverAsked = () => Promise.reject(new Error('approval was asked for'));

describe('what is refused', () => {
  test('to the application: tables of its own in the place of those that the functions of the log ask', async () => {
    const log = await makeSignedLog();
    await writeAged(log, [10]);
    const before = await heldIds(log);
    const shadows = `
      create temp table audit_retention as select 0 as acts_days, 0 as reads_days;
      create temp table audit_pending (number bigint primary key);
      grant all on audit_retention, audit_pending to public`;
    await withClient(log.database.adminAddress, 'owner', grantAppRights);
    await expect(
      withClient(log.database.address, 'application', (client) => client.query(shadows)),
    ).rejects.toThrow(/permission denied/);
    // Of an outside database nobody takes that right away.
    await withClient(log.database.adminAddress, 'owner', (client) =>
      client.query(
        `do $$ begin execute format('grant temporary on database %I to public', current_database()); end $$`,
      ),
    );

    await withClient(log.database.address, 'application', async (client) => {
      await client.query(shadows);
      const { rows } = await client.query(
        `select expire_audit_entries(array_agg(number), array_agg(decode(repeat('ab', 32), 'hex'))) from audit_entries`,
      );
      expect(rows).toEqual([]);
      await client.query(`
        insert into audit_entries (id, at, actor_kind, action, object_type, result, detail, salt)
        select gen_random_uuid(), at, actor_kind, action, object_type, result, detail, salt from audit_entries limit 1`);
      expect((await client.query('select number from pg_temp.audit_pending')).rows).toEqual([]);
    });

    expect((await heldIds(log)).slice(0, before.length)).toEqual(before);
    expect(await sequenceEntries(log.database.db)).toBe(1);
  });

  test('to the application: taking an entry away, a stub put in, a period below the shortest', async () => {
    const log = await makeSignedLog();
    await writeAged(log, [10]);
    const before = await heldIds(log);

    for (const statement of [
      `select set_config('holdfast.audit_expiry', 'on', false); delete from audit_entries`,
      `insert into audit_stubs values (1, now(), 'act', decode(repeat('ab', 32), 'hex'))`,
      `update audit_retention set acts_days = 1`,
      `update audit_retention set reads_days = 29`,
      `delete from audit_retention`,
    ]) {
      await expect(
        withClient(log.database.address, 'application', (client) => client.query(statement)),
        statement,
      ).rejects.toThrow();
    }
    // Whoever calls it, the function takes nothing whose period has not ended.
    await withClient(log.database.address, 'application', (client) =>
      client.query(
        `select expire_audit_entries(array[1, 2]::bigint[], array[decode(repeat('ab', 32), 'hex'), decode(repeat('ab', 32), 'hex')])`,
      ),
    );

    expect(await heldIds(log)).toEqual(before);
  });

  test('to the owner of the table: changing a stub', async () => {
    const log = await makeSignedLog();
    await writeAged(log, [3000]);
    await expireDueEntries(log.deps);

    for (const statement of [`update audit_stubs set kind = 'read'`, `delete from audit_stubs`]) {
      await expect(
        withClient(log.database.adminAddress, 'owner', (client) => client.query(statement)),
      ).rejects.toThrow(/only added to/);
    }
  });

  test('a setting without a reason', async () => {
    const log = await makeSignedLog();

    await expect(
      changeRetention({ ...log.deps, askForRetention: neverAsked }, systemActor('tests'), {
        actsDays: 400,
        readsDays: 40,
        reason: '  ',
      }),
    ).rejects.toMatchObject({ code: 'invalid_input' });

    expect(await readRetention(log.deps)).toMatchObject({ actsDays: 2557, readsDays: 180, changedAt: null });
  });
});

describe('when its period has ended', () => {
  test('an entry goes, and the log verifies as before, also for a stranger', async () => {
    const log = await makeSignedLog();
    const { acts, reads } = await writeAged(log, [3000, 2000, 200, 100]);

    const gone = await expireDueEntries(log.deps);
    await log.sign();

    const held = await heldIds(log);
    expect(gone).toBe(1 + 3);
    expect([...acts, ...reads].filter((id) => !held.includes(id))).toEqual([acts[0], ...reads.slice(0, 3)]);
    expect(await log.check()).toMatchObject({ ok: true, expired: 4, entries: 6, findings: [] });
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-retention-'));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    const file = join(folder, 'audit.jsonl');
    await writeFile(file, `${(await log.export()).join('\n')}\n`);
    const script = join(import.meta.dirname, 'verify_export.py');
    const { status, stderr } = spawnSync(tool('python3').path, [
      script,
      file,
      log.kit.trustRoot.toString('base64'),
    ]);
    expect([status, stderr.toString()]).toEqual([0, '']);
  });

  test('nothing of it stays but number, time, kind and a salted hash', async () => {
    const log = await makeSignedLog();
    await writeAged(log, [3000]);
    await expireDueEntries(log.deps);

    const stubs = (await log.export()).filter((line) => line.startsWith('{"expired":'));

    expect(stubs.map((line) => JSON.parse(line) as unknown)).toEqual([
      {
        expired: {
          number: '1',
          at: ANY_TEXT,
          kind: 'act',
          body: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
        },
      },
      { expired: { number: '2', at: ANY_TEXT, kind: 'read', body: ANY_TEXT } },
    ]);
  });

  test('is said in the log, with how many went and by which date; a second look takes nothing', async () => {
    const log = await makeSignedLog();
    await writeAged(log, [3000, 2900]);

    expect(await expireDueEntries(log.deps)).toBe(4);
    expect(await expireDueEntries(log.deps)).toBe(0);

    const rows = await log.database.db
      .selectFrom('audit_entries')
      .select('detail')
      .where('action', '=', 'audit.entries.expired')
      .orderBy('number')
      .execute();
    expect(rows.map(({ detail }) => detail)).toEqual([
      { kind: 'read', count: 2, before: ANY_TEXT },
      { kind: 'act', count: 2, before: ANY_TEXT },
    ]);
  });

  test('follows the setting, whose change is entered with its reason', async () => {
    const log = await makeSignedLog();
    await writeAged(log, [500, 60]);
    expect(await expireDueEntries(log.deps)).toBe(1);

    await changeRetention({ ...log.deps, askForRetention: neverAsked }, systemActor('tests'), {
      actsDays: 400,
      readsDays: 30,
      reason: 'The works council asked for it',
    });

    expect(await expireDueEntries(log.deps)).toBe(2);
    const changed = await log.database.db
      .selectFrom('audit_entries')
      .select('detail')
      .where('action', '=', 'audit.retention.changed')
      .execute();
    expect(changed).toMatchObject([
      {
        detail: {
          before: { actsDays: 2557, readsDays: 180 },
          after: { actsDays: 400, readsDays: 30 },
          reason: 'The works council asked for it',
        },
      },
    ]);
  });
});

describe('somebody who takes an expired entry for a cover', () => {
  const asStub = (number: number, kind: string) => `
    insert into audit_stubs select number, at, '${kind}', sha256('x') from audit_entries where number = ${number};
    delete from audit_entries where number = ${number}`;

  test('is named when the hash is not that of the entry, or the kind not its own', async () => {
    const log = await makeSignedLog();
    await writeAged(log, [3000]);
    await log.tamper(asStub(1, 'act'));

    expect(await log.check()).toMatchObject({ ok: false, findings: [{ code: 'edited', position: 0 }] });
  });

  test('is named when the entry was young, however well the stub was made', async () => {
    const log = await makeSignedLog();
    await writeAged(log, [300, 100]);
    await log.tamper(`alter table audit_retention drop constraint audit_retention_acts_days_check;
      update audit_retention set acts_days = 1`);
    await expireDueEntries(log.deps);

    const report = await log.check();

    expect(report).toMatchObject({ ok: false, expired: 3 });
    expect(report.findings).toMatchObject([
      { code: 'deleted', message: expect.stringContaining('before the 365 days') as string },
    ]);
  });
});
