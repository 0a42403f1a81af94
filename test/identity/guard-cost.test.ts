import fastify, { type FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { installAccessGuard } from '../../server/identity/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { startTestAppliance, type TestAppliance } from '../helpers/appliance.ts';

/** The aim is half a millisecond on a quiet machine; tests run beside others. */
const MOST_MS = 5;
const ROUNDS = 500;

let appliance: TestAppliance;
let app: FastifyInstance;
let cookie: string;
beforeAll(async () => {
  appliance = await startTestAppliance();
  ({ cookie } = await appliance.claim());
  app = fastify();
  installAccessGuard(app, appliance.deps);
  app.get('/open', { config: { access: 'public' } }, () => 'done');
  app.get('/guarded', { config: { access: { right: 'account.own' } } }, () => 'done');
  await app.ready();
});
afterAll(async () => {
  await app.close();
  await appliance.close();
});

/** Milliseconds of the tenth that went best: what it costs, and not what else the machine did. */
async function costMs(url: string): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const start = systemClock.monotonicMs();
    const reply = await app.inject({ url, headers: { cookie } });
    times.push(systemClock.monotonicMs() - start);
    expect(reply.statusCode).toBe(200);
  }
  return times.sort((a, b) => a - b)[ROUNDS / 10] ?? Infinity;
}

test('knowing who asks and what they may do adds next to nothing to a small read', async () => {
  await costMs('/open');
  await costMs('/guarded');

  const open = await costMs('/open');
  const added = (await costMs('/guarded')) - open;

  expect(added, `milliseconds on top of ${open.toFixed(2)}`).toBeLessThan(MOST_MS);
});
