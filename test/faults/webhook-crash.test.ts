/** A sender of webhooks that is killed at each durable step: no event is lost, and one that came twice can be told by its id. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { systemActor } from '../../server/audit/index.ts';
import { childEnvironment } from '../../server/lib/config.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import { addWebhook, tryWebhook } from '../../server/monitoring/webhooks/manage-webhooks.ts';
import { startTestParts, type TestParts } from '../helpers/appliance.ts';
import { startHttpReceiver, type HttpReceiver } from '../helpers/http-receiver.ts';
import type { MailOrder } from './mail-child.ts';

let parts: TestParts;
let receiver: HttpReceiver;
let webhookId: string;
const actor = systemActor('test');
beforeAll(async () => {
  vi.stubEnv('HOLDFAST_OWN_MACHINE', 'allow');
  [parts, receiver] = await Promise.all([startTestParts(), startHttpReceiver()]);
  const { webhook } = await addWebhook(parts.deps, actor, {
    ...{ name: 'Pager', url: receiver.url, allowHttp: true, least: 'bad', paused: false },
    events: ['alert.raised'],
  });
  webhookId = webhook.id;
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await receiver.close();
  await parts.close();
});

async function runSender(offsetMs: number, crashAt = ''): Promise<NodeJS.Signals | null> {
  const order: MailOrder = { address: parts.database.address, dataDir: parts.dataDir, offsetMs };
  const helper = join(import.meta.dirname, '../helpers/crash-at.ts');
  const child = startProcess(
    process.execPath,
    ['--import', helper, join(import.meta.dirname, 'webhook-child.ts')],
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

describe('a sender that is killed', () => {
  test.each([
    ['webhook.leased', 0, 1],
    ['webhook.sent', 1, 2],
  ])('at %s', async (point, arrivedBefore, arrivedAfter) => {
    receiver.calls.length = 0;
    const { id } = await tryWebhook(parts.deps, actor, webhookId);

    expect(await runSender(0, `${point}:1`)).toBe('SIGKILL');
    expect(receiver.calls).toHaveLength(arrivedBefore);
    // Whoever has the lease may still be at work.
    expect(await runSender(1_000)).toBeNull();
    expect(receiver.calls).toHaveLength(arrivedBefore);
    expect(await runSender(2 * 60_000)).toBeNull();

    expect(receiver.calls).toHaveLength(arrivedAfter);
    for (const { headers } of receiver.calls) expect(headers['webhook-id']).toBe(id);
    const row = await parts.deps.db
      .selectFrom('webhook_deliveries')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
    expect(row).toMatchObject({ state: 'delivered', attempts: 2 });
  });
});
