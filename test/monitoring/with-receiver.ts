/** An appliance with an owner and an administrator, and a real HTTP server on this machine that it may call. */
import { afterAll, beforeAll, beforeEach, vi } from 'vitest';
import { startTestAppliance, type TestAppliance, type TestCaller } from '../helpers/appliance.ts';
import { startHttpReceiver, type HttpReceiver } from '../helpers/http-receiver.ts';

export interface WithReceiver {
  appliance: TestAppliance;
  owner: TestCaller;
  admin: TestCaller;
  /** Before each test it answers 200 and has been called by nobody. */
  receiver: HttpReceiver;
}

/** @param take gets them before the first test. */
export function withReceiver(take: (them: WithReceiver) => void): void {
  let appliance: TestAppliance;
  let receiver: HttpReceiver;
  beforeAll(async () => {
    vi.stubEnv('HOLDFAST_OWN_MACHINE', 'allow');
    [appliance, receiver] = await Promise.all([startTestAppliance(), startHttpReceiver()]);
    const owner = await appliance.claim();
    take({ appliance, owner, admin: await appliance.addPerson('admin'), receiver });
  }, 60_000);
  afterAll(async () => {
    vi.unstubAllEnvs();
    await receiver.close();
    await appliance.close();
  });
  beforeEach(() => {
    receiver.behave({ status: 200 });
    receiver.calls.length = 0;
  });
}
