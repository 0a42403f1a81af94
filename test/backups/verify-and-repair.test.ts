/** Verifying a target of an appliance: what is damaged there is made whole from another target, and damage is told all the same. */
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { expectStatus } from '../helpers/appliance.ts';
import { atNext } from '../helpers/at-next.ts';
import { addSecondTarget, catchUp, showTarget, type SecondTarget } from '../helpers/second-target.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let appliance: StockedAppliance;
let second: SecondTarget;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
  second = await addSecondTarget(appliance, 'second');
  expect(await catchUp(appliance)).toMatchObject({ state: 'succeeded' });
});
afterAll(() => appliance.close());

async function verify(targetId: string) {
  await expectStatus(appliance.owner.call('POST', `/targets/${targetId}/verify`), 202);
  return appliance.performRun();
}

function packsBelow(path: string): string[] {
  return readdirSync(join(path, 'packs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.age'))
    .sort()
    .map((name) => join('packs', name));
}

function damage(path: string, name: string): void {
  const file = join(path, name);
  const bytes = readFileSync(file);
  chmodSync(file, 0o600);
  writeFileSync(file, randomBytes(bytes.length));
}

function isWhole(path: string, name: string): boolean {
  const sha256 = createHash('sha256')
    .update(readFileSync(join(path, name)))
    .digest('hex');
  return name.includes(sha256);
}

async function entries(action: string) {
  return appliance.deps.db
    .selectFrom('audit_entries')
    .select(['object_id', 'detail'])
    .where('action', '=', action)
    .execute();
}

test('of all targets at once, it is told on which it is, and how it went on each', async () => {
  await expectStatus(appliance.owner.call('POST', '/targets/verify'), 202);

  const run = await appliance.performRun();

  const told = run.reports.map(({ steps = [] }) => steps.map(({ state }) => state).join());
  expect(told[0]).toBe('running,waiting');
  expect(told).toContain('passed,running');
  expect(run.reports.at(-1)?.steps).toMatchObject([
    { label: 'copy', state: 'passed', durationMs: expect.any(Number) as number },
    { label: 'second', state: 'passed' },
  ]);
  // The numbers of the work itself are still there.
  expect(run.reports.some(({ steps, bytesDone }) => steps !== undefined && (bytesDone ?? 0) > 0)).toBe(true);
});

test('what is damaged or gone is made whole, said, and whole from then on', async () => {
  const [flipped = '', gone = ''] = packsBelow(appliance.targetPath);
  damage(appliance.targetPath, flipped);
  rmSync(join(appliance.targetPath, gone));

  const run = await verify(appliance.targetId);

  expect(run, run.lines.join('\n')).toMatchObject({
    state: 'partial',
    // The snapshot was named for what the lost pack held, and is as it was.
    result: { problems: 0, repaired: 2, foundWhole: 1 },
    error: {
      code: 'repaired',
      message:
        '2 damaged objects were found and made whole again by the copies on second; 1 object was found whole after all, and not touched',
    },
  });
  expect(readFileSync(join(appliance.targetPath, flipped))).toEqual(readFileSync(join(second.path, flipped)));
  expect(readFileSync(join(appliance.targetPath, gone))).toEqual(readFileSync(join(second.path, gone)));
  expect(await entries('backups.repository.repaired')).toEqual([
    {
      object_id: appliance.targetId,
      detail: expect.objectContaining({ left: 0, from: ['second'] }) as object,
    },
  ]);
  expect(await verify(appliance.targetId)).toMatchObject({ state: 'succeeded', result: { repaired: 0 } });
});

test('what is damaged on both is named; what the other has is made whole all the same', async () => {
  const [lost = '', ...others] = packsBelow(second.path);
  const [rescued = ''] = others;
  damage(second.path, lost);
  damage(appliance.targetPath, lost);
  damage(second.path, rescued);

  const run = await verify(second.id);

  expect(run).toMatchObject({ state: 'failed', error: { code: 'integrity_failure' } });
  expect(run.lines.join('\n')).toContain('has no whole copy of it');
  expect(readFileSync(join(second.path, rescued))).toEqual(readFileSync(join(appliance.targetPath, rescued)));
});

describe('in the middle of a repair', () => {
  async function repairUntil(away: string) {
    const packs = packsBelow(second.path).filter((name) => isWhole(second.path, name));
    for (const name of packs.slice(0, 2)) damage(appliance.targetPath, name);
    atNext('backups.repair.verified', () => renameSync(away, `${away}-gone`));
    const run = await verify(appliance.targetId);
    renameSync(`${away}-gone`, away);
    return { run, problem: (await showTarget(appliance, second.id)).lastError };
  }

  test('a source that goes away is blamed, and what it has brought by then counts', async () => {
    const { run, problem } = await repairUntil(second.path);

    expect(run).toMatchObject({
      ...{ state: 'failed', error: { code: 'integrity_failure' }, result: { repaired: 1 } },
    });
    expect(run.lines.join('\n')).toContain('Nothing more could be repaired from second');
    expect(problem).toMatchObject({ code: 'unavailable' });
  });

  test('a target that goes away itself is blamed, and not its source', async () => {
    await appliance.deps.db.updateTable('targets').set({ last_error: null }).execute();

    const { run, problem } = await repairUntil(appliance.targetPath);

    expect(run).toMatchObject({ state: 'failed', error: { code: 'unavailable' } });
    expect(run.lines.join('\n')).not.toContain('repaired from second');
    expect(problem).toBeNull();
  });
});

test('a target that cannot be reached repairs nothing, and that is said', async () => {
  await second.away();

  const run = await verify(appliance.targetId);

  expect(run).toMatchObject({ state: 'failed', error: { code: 'integrity_failure' } });
  expect(run.lines.join('\n')).toContain('Nothing more could be repaired from second');
  await second.back();
});
