/**
 * A week in minutes, on two targets: hourly changes, nightly snapshots, retention, prunes, reading back in parts and restore tests, a fault for
 * most nights by chance, damage and hours without its disk for one of the targets. At its end each snapshot that each of them keeps is
 * restored from there with nothing but the kit, and compared byte by byte with what was there when it was taken. `SEED=n` lives one week
 * again; `SLOW=1` lives two hundred, and tells each.
 */
import { randomInt } from 'node:crypto';
import type * as FilesOfNode from 'node:fs/promises';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { kitToJson, makeRecoveryKit } from '../../server/keys/index.ts';
import { restoreTree } from '../../server/backups/index.ts';
import { findLacking } from '../../server/backups/lacking.ts';
import { listActiveTargets } from '../../server/backups/queries.ts';
import type { Snapshot } from '../../server/backups/schema.ts';
import { openKitRepository } from '../../server/cli/kit-repository.ts';
import { createOutput } from '../../server/cli/output.ts';
import { readPlace } from '../../server/cli/target-place.ts';
import { startBadLine, startS3Server } from '../helpers/s3-server.ts';
import { startStockedAppliance, type StockedAppliance } from '../helpers/stocked-appliance.ts';
import { filesOf, isOn, liveThroughWeek, retainedSnapshots, type Week } from './week/life.ts';

const { SEED, SLOW } = process.env;
const seeds =
  SEED === undefined
    ? Array.from({ length: SLOW === undefined ? 1 : 200 }, () => randomInt(2 ** 32 - 1))
    : [Number(SEED)];

vi.stubEnv('HOLDFAST_OWN_MACHINE', 'allow');

/** The disk of the second target lives in the week too: its file system dates by the week's clock the file that asks for the time. */
const disk = vi.hoisted((): { now?: () => Date } => ({}));
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof FilesOfNode>();
  const open = async (...args: Parameters<typeof real.open>) => {
    const handle = await real.open(...args);
    if (typeof args[0] !== 'string' || !/\.tmp-[^/]*-clock$/.test(args[0])) return handle;
    const stat = handle.stat.bind(handle);
    const dated = async () =>
      Object.assign(await stat(), disk.now === undefined ? {} : { mtime: disk.now() });
    return Object.assign(handle, { stat: dated });
  };
  return { ...real, open };
});

test.for(seeds)(
  'after a week with seed %i every kept snapshot can be restored',
  { timeout: 1_800_000 },
  async (seed, { onTestFailed }) => {
    process.stdout.write(`SEED=${String(seed)}\n`);
    const week: Week = { diary: [], attempts: [], surprises: [] };
    // Whatever ends it, a time limit too.
    onTestFailed(() => void process.stdout.write(tell(seed, week)));
    const server = await startS3Server();
    const line = await startBadLine({ port: server.port });
    const { bucket, pathStyle, signIn } = server.config('week');
    const appliance = await startStockedAppliance({
      ...{ kind: 's3', endpoint: line.endpoint, bucket, prefix: 'week', pathStyle, signIn },
    });
    disk.now = () => appliance.clock.now();
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-week-'));
    try {
      const listFirst = () => server.files('week');
      const second = await liveThroughWeek(appliance, { line, listFirst }, { week, seed });
      const retained = await retainedSnapshots(appliance);

      expect(week.surprises).toEqual([]);
      expect(retained.map((one) => one.state)).not.toContain('partial');
      for (const target of await listActiveTargets(appliance.deps.db))
        expect(await findLacking(appliance.deps, target), `what ${target.name} lacks`).toEqual([]);
      const there = (id: string) => retained.filter((one) => isOn(one, id));
      const first = `s3://${bucket}/week?endpoint=${server.endpoint}`;
      const kit = await writeKit(appliance, folder);
      await expectAllRestorable({ week, kit, from: first }, there(appliance.targetId));
      await expectAllRestorable({ week, kit, from: second.path }, there(second.id));
      if (SLOW !== undefined) process.stdout.write(tell(seed, week));
    } finally {
      await appliance.close();
      await line.stop();
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
);

function tell(seed: number, { diary, surprises }: Week): string {
  const again = `SEED=${String(seed)} npx vitest run -c test/vitest.config.ts test/faults/simulated-week.test.ts`;
  return [`The week of ${again}`, ...diary, ...surprises.map((one) => `surprise: ${one}`), ''].join('\n');
}

interface Kit {
  file: string;
  /** For the bucket. */
  signInFile: string;
  folder: string;
}

async function writeKit(appliance: StockedAppliance, folder: string): Promise<Kit> {
  const { identity, id, repositoryId, trustRoot } = appliance.kit;
  const facts = { applianceName: 'Testbed', createdAt: '2026-01-01T00:00:00.000Z', targets: [] };
  const kit = makeRecoveryKit({ kitId: id, repositoryId, trustRoot, ageIdentity: identity, ...facts });
  const [file, signInFile] = [join(folder, 'kit.json'), join(folder, 'key')];
  await writeFile(file, kitToJson(kit), { mode: 0o600 });
  await writeFile(signInFile, 'S3RVER\nS3RVER\n', { mode: 0o600 });
  return { file, signInFile, folder };
}

/** As \`holdfast restore --from --kit\` does: from the target and the kit alone. */
async function expectAllRestorable(
  { week, kit, from }: { week: Week; kit: Kit; from: string },
  snapshots: readonly Snapshot[],
): Promise<void> {
  expect(snapshots.length).toBeGreaterThanOrEqual(3);
  const target = await readPlace(from, from.startsWith('s3:') ? { signInFile: kit.signInFile } : {});
  const opened = await openKitRepository({ target, kit: kit.file }, createOutput(false));
  try {
    const source = { reader: opened.reader, ...(await opened.keyring()) };
    const signal = new AbortController().signal;
    for (const { number, ...one } of snapshots) {
      const to = join(await mkdtemp(join(kit.folder, 'restored-')), 'files');
      await mkdir(to);
      const snapshot = await opened.repository.findSnapshot(number);
      const report = await restoreTree({ ...source, snapshot }, { to, existing: 'refuse', signal });

      expect(report, `snapshot ${number}`).toMatchObject({ problemCount: 0, problems: [] });
      const expected = filesOf(week, { number, ...one });
      expect((await readdir(to)).sort()).toEqual([...expected.keys()].sort());
      for (const [name, content] of expected)
        expect((await readFile(join(to, name))).equals(content), `${name} of snapshot ${number}`).toBe(true);
      await rm(to, { recursive: true });
    }
  } finally {
    await opened.close();
  }
}
