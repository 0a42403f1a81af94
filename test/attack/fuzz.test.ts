/** A short run of what `npm run test:attack` does at length: no random request breaks the API or makes it say what is inside. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestAppliance, type TestAppliance, type TestCaller } from '../helpers/appliance.ts';
import { describedRoutes, fuzz } from './fuzz.ts';

/** Requests for each route and caller; more by FUZZ_EACH, other ones by FUZZ_SEED. */
const EACH = Number(process.env.HOLDFAST_TEST_FUZZ_EACH ?? 3);
const SEED = Number(process.env.HOLDFAST_TEST_FUZZ_SEED ?? 1);

let appliance: TestAppliance;
const callers: Record<string, TestCaller> = {};
beforeAll(async () => {
  appliance = await startTestAppliance();
  callers.owner = await appliance.claim();
  for (const role of ['admin', 'auditor', 'member'] as const) callers[role] = await appliance.addPerson(role);
  callers.stranger = appliance.stranger;
});
afterAll(() => appliance.close());

test('random requests as each role: no 5xx, no trace, no secret', { timeout: 600_000 }, async () => {
  const routes = await describedRoutes(appliance);
  const { requests, statuses, findings } = await fuzz(callers, routes, EACH, SEED);

  if (EACH > 3)
    process.stdout.write(
      `FUZZ ${JSON.stringify({ requests, routes: routes.length, statuses, seed: SEED })}\n`,
    );
  expect(routes.length).toBeGreaterThan(60);
  expect(findings).toEqual([]);
});
