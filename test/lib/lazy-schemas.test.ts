import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildApp } from '../../server/app.ts';
import { startTestAppliance, type TestAppliance } from '../helpers/appliance.ts';

let appliance: TestAppliance;
beforeAll(async () => {
  appliance = await startTestAppliance();
});
afterAll(() => appliance.close());

describe('schemas of routes', () => {
  test('can all be compiled', async () => {
    const app = await buildApp(appliance.deps, { eagerSchemas: true });

    await expect(app.ready()).resolves.toBeDefined();
    await app.close();
  });

  test('that are compiled at their first use refuse and shape as those that were compiled before', async () => {
    const eager = await buildApp(appliance.deps, { eagerSchemas: true });
    const lazy = await buildApp(appliance.deps);
    const requests = [
      { method: 'POST', url: '/api/v1/session', payload: { email: 'no address', password: 'x' } },
      { method: 'POST', url: '/api/v1/session', payload: { surprise: true } },
      { method: 'GET', url: '/api/v1/setup' },
      { method: 'GET', url: '/health/ready' },
    ] as const;
    const headers = {
      'x-holdfast': '1',
      origin: 'https://localhost',
      host: 'localhost',
      'sec-fetch-site': 'same-origin',
    };
    for (const request of requests) {
      const [first, second, again] = await Promise.all(
        [eager, lazy, lazy].map((app) => app.inject({ ...request, headers })),
      );
      const shown = (reply: typeof first) => ({
        status: reply?.statusCode,
        body: reply?.body.replace(/"requestId":"[^"]+"/, ''),
      });
      expect(shown(second)).toEqual(shown(first));
      expect(shown(again)).toEqual(shown(first));
    }
    await Promise.all([eager.close(), lazy.close()]);
  });
});
