/** Damage in the shipped log, found by one part of reading back, is told by the next parts, too. */
import { randomBytes } from 'node:crypto';
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { hashInName } from '../../../server/backups/repository/hash-in-name.ts';
import { expectStatus } from '../../helpers/appliance.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import { startShipping, switchOn } from './shipping.ts';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const PARTS = 2;
let appliance: StockedAppliance;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
  await switchOn(appliance);
  const shipping = await startShipping(appliance);
  for (let count = 0; objectsOfFirstPart('wal').length === 0 || objectsOfFirstPart('files').length === 0;) {
    await appliance.upload(`${String(count++)}.bin`, randomBytes(1000));
    await shipping.caughtUp();
  }
  await shipping.stop();
  const schedule = { cron: '0 3 * * *', enabled: true, days: PARTS };
  await expectStatus(appliance.owner.call('PUT', '/schedules/verify', schedule), 200);
});
afterAll(() => appliance.close());

function objectsOfFirstPart(prefix: string): string[] {
  return readdirSync(appliance.targetPath, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.startsWith(`${prefix}/`) && name.endsWith('.age'))
    .filter((name) => Number.parseInt((hashInName(name) ?? '').slice(0, 8), 16) % PARTS === 0);
}

async function readPart() {
  await expectStatus(appliance.owner.call('POST', `/targets/${appliance.targetId}/verify?part=true`), 202);
  return appliance.performRun();
}

/** As the first part of a cycle finds it. @returns with what makes it whole again, and what takes it away */
function damage(name: string) {
  const file = join(appliance.targetPath, name);
  const whole = readFileSync(file);
  chmodSync(file, 0o600);
  writeFileSync(file, randomBytes(whole.length));
  return { mend: () => writeFileSync(file, whole), remove: () => rmSync(file) };
}

test.each(['wal', 'files'])('an object below %s/ is told until it is whole, or gone', async (prefix) => {
  const [name = ''] = objectsOfFirstPart(prefix);
  const told = { state: 'failed', result: { problems: 1 }, error: { code: 'integrity_failure' } };
  const broken = damage(name);
  expect(await readPart()).toMatchObject(told);

  const next = await readPart();

  expect(next, next.lines.join('\n')).toMatchObject(told);
  expect(next.lines.join('\n')).toContain(name);
  broken.mend();
  expect(await readPart()).toMatchObject({ state: 'succeeded', result: { problems: 0 } });
  expect(await readPart()).toMatchObject({ state: 'succeeded' });
  const again = damage(name);
  expect(await readPart()).toMatchObject(told);
  again.remove();
  if (prefix === 'files') {
    expect(await readPart()).toMatchObject({ state: 'succeeded', result: { problems: 0 } });
    return;
  }
  for (let part = 0; part < PARTS; part++) {
    const missing = await readPart();
    expect(missing).toMatchObject(told);
    expect(missing.lines.join('\n')).toContain(
      `${name}: This piece of the log was shipped, and is not there`,
    );
  }
  again.mend();
  expect(await readPart()).toMatchObject({ state: 'succeeded', result: { problems: 0 } });
});
