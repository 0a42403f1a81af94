/** A target that answers nothing any more, and does not fail either, as a dead share does. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { TargetReply } from '../../../server/backups/schema.ts';
import { findSlot, withClient } from '../../../server/lib/postgres/index.ts';
import { expectStatus } from '../../helpers/appliance.ts';
import { setRule } from '../../helpers/second-target.ts';
import { startSftpServer, type SftpServer } from '../../helpers/sftp-server.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import { openTcpLine, type TcpLine } from '../../helpers/tcp-line.ts';
import { waitFor } from '../../helpers/wait-for.ts';
import { look, startShipping, switchOn, takeAnySnapshot, writeLog, type Shipping } from './shipping.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 180_000 });
vi.stubEnv('HOLDFAST_OWN_MACHINE', 'allow');

const PILE_BYTES = 64 * 1024 ** 2;

let appliance: StockedAppliance;
let server: SftpServer;
let line: TcpLine;
let shipping: Shipping;
let hanging: string;

beforeAll(async () => {
  server = await startSftpServer();
  line = await openTcpLine(server.port);
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
  const path = await server.makeFolder('second');
  const { id } = await expectStatus(
    appliance.owner.call<TargetReply>('POST', '/targets', {
      ...{ name: 'vault', kind: 'sftp', region: 'eu-north', host: '127.0.0.1', port: line.port },
      ...{ username: server.username, path, fingerprint: server.hostKey.fingerprint },
      signIn: { kind: 'private-key', privateKey: server.privateKey },
    }),
    201,
  );
  hanging = id;
  await setRule(appliance, 1);
  await takeAnySnapshot(appliance);
  await switchOn(appliance, { pile_limit_bytes: PILE_BYTES });
});
afterAll(async () => {
  await appliance.close();
  line.close();
  await server.stop();
});

const reportOf = (id: string) => look(appliance, (view) => view.reports().get(id));

/** Where PostgreSQL keeps the log from. */
async function keptFrom(): Promise<bigint> {
  const { slot } = await appliance.deps.db
    .selectFrom('point_in_time')
    .select('slot')
    .executeTakeFirstOrThrow();
  return withClient(
    appliance.database.adminAddress,
    'test',
    async (client) => (await findSlot(client, slot ?? '')) ?? 0n,
  );
}

test('is told, is given up like one that is away, and is shipped to again when it answers', async () => {
  shipping = await startShipping(appliance, { quietMs: 300, answerMs: 60_000, endMs: 500 });
  const { start } = await shipping.caughtUp();
  const before = await shipping.caughtUp(hanging);

  line.delay(Infinity);
  await appliance.upload('while it hangs', Buffer.from('while it hangs'));
  await waitFor(
    'it to be told',
    () => reportOf(hanging)?.problem?.message.includes('does not answer') === true,
  );
  expect(reportOf(hanging)?.state).toBe('away');
  for (let count = 0; count < 5; count++) {
    await writeLog(appliance, 20);
    expect(await shipping.caughtUp()).toMatchObject({ start });
  }
  const given = await waitFor(
    'the target to be given up',
    () =>
      look(appliance, (view) => {
        const at = view.find(hanging);
        return at?.timeline === 0 ? at : undefined;
      }),
    20_000,
  );
  expect(given.gap).toMatchObject({ from: before.position, reason: 'away' });
  await waitFor(
    'the log to be let go',
    async () => (await keptFrom()) > before.position + BigInt(PILE_BYTES),
  );

  line.delay(0);
  const after = await shipping.caughtUp(hanging);
  await shipping.stop();

  expect(after.start).toBeGreaterThan(before.position);
});

test('holds up neither a target that is retired nor the end of the process', async () => {
  shipping = await startShipping(appliance, { quietMs: 300, answerMs: 600_000, endMs: 600_000 });
  await shipping.caughtUp(hanging);
  // None is asked for while it is retired.
  await takeAnySnapshot(appliance);

  line.delay(Infinity);
  await appliance.upload('before it is retired', Buffer.from('before it is retired'));
  await waitFor('it to be told', () => reportOf(hanging)?.state === 'away');
  await expectStatus(appliance.owner.call('POST', `/targets/${hanging}/retire`), 200);
  await waitFor(
    'the target to be forgotten',
    () => look(appliance, (view) => view.find(hanging) === undefined),
    15_000,
  );
  await appliance.upload('after it', Buffer.from('after it'));

  await shipping.caughtUp();
  await shipping.stop();
  expect(look(appliance, (view) => view.list().map((at) => at.targetId))).toEqual([appliance.targetId]);
});
