/**
 * A week in a minute: hourly changes, nightly snapshots, retention, prunes and restore tests, and a fault for most nights by chance. At
 * its end each snapshot that is kept is restored with nothing but the kit, and compared byte by byte with what was there when it was
 * taken. `SEED=n` lives one week again; `SLOW=1` lives two hundred.
 */
import { randomInt } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { kitToJson, makeRecoveryKit } from '../../server/keys/index.ts';
import type { Snapshot } from '../../server/backups/schema.ts';
import { runHoldfast } from '../helpers/served-appliance.ts';
import { startBadLine, startS3Server, type S3Server } from '../helpers/s3-server.ts';
import { startStockedAppliance, type StockedAppliance } from '../helpers/stocked-appliance.ts';
import { filesOf, liveThroughWeek, retainedSnapshots, type Week } from './week/life.ts';

const { SEED, SLOW } = process.env;
const seeds =
  SEED === undefined
    ? Array.from({ length: SLOW === undefined ? 1 : 200 }, () => randomInt(2 ** 32 - 1))
    : [Number(SEED)];

vi.stubEnv('HOLDFAST_OWN_MACHINE', 'allow');

test.each(seeds)(
  'after a week with seed %i every kept snapshot can be restored',
  async (seed) => {
    const server = await startS3Server();
    const line = await startBadLine({ port: server.port });
    const { bucket, pathStyle, signIn } = server.config('week');
    const appliance = await startStockedAppliance({
      ...{ kind: 's3', endpoint: line.endpoint, bucket, prefix: 'week', pathStyle, signIn },
    });
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-week-'));
    let week: Week | undefined;
    try {
      week = await liveThroughWeek(appliance, line, seed);
      const retained = await retainedSnapshots(appliance);

      expect(week.surprises).toEqual([]);
      expect(retained.length).toBeGreaterThanOrEqual(3);
      expect(retained.map((one) => one.state)).not.toContain('partial');
      for (const snapshot of retained) await expectRestorable({ appliance, server, week, folder }, snapshot);
    } catch (error) {
      process.stderr.write(`SEED=${String(seed)}\n${week?.diary.join('\n') ?? ''}\n`);
      throw error;
    } finally {
      await appliance.close();
      await line.stop();
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
  600_000,
);

interface Place {
  appliance: StockedAppliance;
  server: S3Server;
  week: Week;
  folder: string;
}

async function expectRestorable(place: Place, snapshot: Snapshot): Promise<void> {
  const { appliance, server, week, folder } = place;
  const [kitFile, signInFile] = [join(folder, 'kit.json'), join(folder, 'key')];
  const { identity, id, repositoryId, trustRoot } = appliance.kit;
  const facts = { applianceName: 'Testbed', createdAt: '2026-01-01T00:00:00.000Z', targets: [] };
  const kit = makeRecoveryKit({ kitId: id, repositoryId, trustRoot, ageIdentity: identity, ...facts });
  await writeFile(kitFile, kitToJson(kit), { mode: 0o600 });
  await writeFile(signInFile, 'S3RVER\nS3RVER\n', { mode: 0o600 });
  const to = join(folder, snapshot.number);
  const from = `s3://${server.config('week').bucket}/week?endpoint=${server.endpoint}`;

  const keys = ['--kit', kitFile, '--sign-in-file', signInFile];
  const end = await runHoldfast(['restore', snapshot.number, '--from', from, ...keys, '--to', to]);

  expect(end, end.stderr).toMatchObject({ exitCode: 0 });
  const expected = filesOf(week, snapshot);
  expect((await readdir(to)).sort()).toEqual([...expected.keys()].sort());
  for (const [name, content] of expected)
    expect((await readFile(join(to, name))).equals(content), `${name} of snapshot ${snapshot.number}`).toBe(
      true,
    );
}
