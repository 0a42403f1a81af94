/** A sender that is killed at each durable step: no message is lost, and one that may have arrived already can be told by its id. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeTransaction } from '../../server/lib/db.ts';
import { childEnvironment } from '../../server/lib/config.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import { queueMail } from '../../server/mail/index.ts';
import { startTestParts, type TestParts } from '../helpers/appliance.ts';
import { makeAuthority, startMailServer, type MailServer } from '../helpers/mail-server.ts';
import type { MailOrder } from './mail-child.ts';

let parts: TestParts;
let server: MailServer;
beforeAll(async () => {
  const [made, authority] = await Promise.all([startTestParts(), makeAuthority()]);
  parts = made;
  server = await startMailServer(authority);
  await parts.deps.db
    .insertInto('mail_settings')
    .values({
      ...{ host: 'localhost', port: server.port, security: 'implicit', sender_name: 'Holdfast' },
      ...{ sender_address: 'holdfast@example.org', ca_certificates: authority.certificate },
      changed_at: parts.clock.now(),
    })
    .execute();
});
afterAll(async () => {
  await server.close();
  await parts.close();
});

async function runSender(offsetMs: number, crashAt = ''): Promise<NodeJS.Signals | null> {
  const order: MailOrder = { address: parts.database.address, dataDir: parts.dataDir, offsetMs };
  const child = startProcess(
    process.execPath,
    [
      '--import',
      join(import.meta.dirname, '../helpers/crash-at.ts'),
      join(import.meta.dirname, 'mail-child.ts'),
    ],
    {
      env: childEnvironment({
        HOLDFAST_TEST_CRASH_AT: crashAt,
        HOLDFAST_TEST_ORDER: JSON.stringify(order),
      }),
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  return (await endOf(child)).signal;
}

const stateOf = (id: string) =>
  parts.deps.db.selectFrom('mail_messages').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

const LEASE_MS = 5 * 60_000;

describe('a sender that is killed', () => {
  test.each([
    ['mail.message.leased', 0, 1],
    ['mail.message.handed-over', 1, 2],
    ['mail.message.recorded', 1, 1],
  ])('at %s', async (point, arrivedBefore, arrivedAfter) => {
    server.taken.length = 0;
    const { id } = await writeTransaction(parts.deps.db, (tx) =>
      queueMail(tx, parts.deps, {
        to: { email: 'bob@example.org' },
        template: 'security-notice',
        data: { what: 'Your password was changed', at: '2026-11-22T10:00:00Z' },
      }),
    );

    expect(await runSender(0, `${point}:1`)).toBe('SIGKILL');
    expect(server.taken).toHaveLength(arrivedBefore);
    // Whoever has the lease may still be at work: nobody else sends it before it ends.
    expect(await runSender(1_000)).toBeNull();
    expect(server.taken).toHaveLength(arrivedBefore);
    expect(await runSender(LEASE_MS)).toBeNull();

    expect(server.taken).toHaveLength(arrivedAfter);
    expect(await stateOf(id)).toMatchObject({ state: 'sent', data_sealed: null });
    for (const mail of server.taken) expect(mail.raw).toContain(`Message-ID: <${id}@example.org>`);
  });
});
