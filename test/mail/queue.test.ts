import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mailState, queueMail } from '../../server/mail/index.ts';
import { writeTransaction } from '../../server/lib/db.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import { startTestParts, type TestParts } from '../helpers/appliance.ts';

const NOTICE = {
  template: 'security-notice',
  data: { what: 'Your password was changed', detail: 'canary-content', at: '2026-11-22T10:00:00Z' },
} as const;
const TO = { email: 'canary-address@example.org' };

let parts: TestParts;
beforeAll(async () => {
  parts = await startTestParts();
});
afterAll(() => parts.close());

const messages = () => parts.deps.db.selectFrom('mail_messages').selectAll().execute();

async function setUpMail(): Promise<void> {
  await parts.deps.db
    .insertInto('mail_settings')
    .values({
      host: 'mail.example.org',
      port: 465,
      security: 'implicit',
      sender_name: 'Holdfast',
      sender_address: 'holdfast@example.org',
      changed_at: parts.clock.now(),
    })
    .execute();
}

describe('queueing mail', () => {
  test('refuses what is no address, or would write a header of its own', async () => {
    for (const email of ['', 'ada', 'a@b\r\nBcc: x@y', 'a@b, c@d', 'Ada <ada@example.org>', 'a\u0000@b']) {
      const queued = writeTransaction(parts.deps.db, (tx) =>
        queueMail(tx, parts.deps, { ...NOTICE, to: { email } }),
      );
      await expect(queued, email).rejects.toMatchObject({ code: 'invalid_input' });
    }
    const detail = 'x'.repeat(17_000);
    const large = writeTransaction(parts.deps.db, (tx) =>
      queueMail(tx, parts.deps, { ...NOTICE, data: { ...NOTICE.data, detail }, to: TO }),
    );
    await expect(large).rejects.toMatchObject({ code: 'too_large' });

    expect(await messages()).toEqual([]);
  });

  test('without a mail server says so, and keeps nothing of the content', async () => {
    expect(await mailState(parts.deps.db)).toEqual({ state: 'off', sends: false });

    const queued = await writeTransaction(parts.deps.db, (tx) =>
      queueMail(tx, parts.deps, { ...NOTICE, to: TO }),
    );

    expect(queued.sending).toBe(false);
    expect(await messages()).toMatchObject([{ id: queued.id, state: 'unsendable', data_sealed: null }]);
  });

  test('is undone with the act it tells of', async () => {
    const before = await messages();

    const act = writeTransaction(parts.deps.db, async (tx) => {
      await queueMail(tx, parts.deps, { ...NOTICE, to: TO });
      throw new Error('the act failed');
    });

    await expect(act).rejects.toThrow('the act failed');
    expect(await messages()).toEqual(before);
  });

  test('leaves neither address nor content readable in the database', async () => {
    await setUpMail();
    expect(await mailState(parts.deps.db)).toEqual({ state: 'ready', sends: true });

    const queued = await writeTransaction(parts.deps.db, (tx) =>
      queueMail(tx, parts.deps, { ...NOTICE, to: TO }),
    );

    expect(queued.sending).toBe(true);
    const copy = await withClient(parts.database.adminAddress, 'test', async (client) => {
      const { rows } = await client.query<{ row: string }>(
        "select t::text || encode(coalesce(data_sealed, ''), 'escape') || encode(coalesce(address_sealed, ''), 'escape') as row from mail_messages t",
      );
      return rows.map(({ row }) => row).join('\n');
    });
    expect(copy).toContain(queued.id);
    expect(copy).not.toContain('canary');
  });
});
