import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generateAgeIdentity, kitToJson, makeRecoveryKit } from '../../server/keys/index.ts';
import { makeFolder, removeFolder, runHoldfast } from '../helpers/served-appliance.ts';

/** Commands that end before they reach an appliance, and what they say then. */
let folder: string;
let kit: string;
beforeAll(async () => {
  folder = await makeFolder('cli-usage');
  const { identity } = await generateAgeIdentity();
  kit = join(folder, 'kit.json');
  const id = '00000000-0000-4000-8000-000000000000';
  await writeFile(
    kit,
    kitToJson(
      makeRecoveryKit({
        kitId: id,
        applianceName: 'Nowhere',
        createdAt: '2026-01-01T00:00:00.000Z',
        repositoryId: id,
        trustRoot: Buffer.alloc(32, 1).toString('base64'),
        ageIdentity: identity,
        targets: [],
      }),
    ),
  );
  await mkdir(join(folder, 'empty'));
});

afterAll(() => removeFolder(folder));

describe('a wrong call ends with 2', () => {
  const calls: [string, string[]][] = [
    ['an unknown command', ['bogus']],
    ['an unknown option', ['status', '--bogus']],
    ['a required option that is missing', ['restore', 'latest']],
    ['a value that is not one of the choices', ['restore', '--to', '/tmp/x', '--into-existing', 'merge']],
    ['--from without --kit', ['verify', '--from', '/tmp/x']],
    ['--kit without --from', ['verify', '--kit', '/tmp/x']],
    ['a kit that cannot be read', ['verify', '--from', '/tmp/x', '--kit', '/nowhere/kit.json']],
    ['a number that is none', ['audit', 'list', '--limit', 'many']],
    ['a way back without the word for it', ['update', 'way-back']],
    ['a set-back to nothing', ['set-back', 'to']],
    ['discarding without the name of the appliance', ['set-back', 'discard']],
    ['a time of restart that is none', ['update', 'install', 'x.raucb', '--restart', 'soon']],
    ['a release from quarantine without the word for it', ['quarantine', 'release']],
    ['a set-up file that is missing', ['setup', '--config', '/nowhere/setup.yaml']],
  ];
  for (const [name, args] of calls) {
    test(`${name}, and with --json exactly one document says why`, async () => {
      const run = await runHoldfast([...args, '--json'], { dataDir: join(folder, 'none') });

      expect([run.exitCode, run.stderr]).toEqual([2, expect.any(String) as unknown]);
      expect(JSON.parse(run.stdout)).toMatchObject({ error: { message: expect.any(String) as unknown } });
    });
  }

  test('without --json the reason and the hint go to standard error alone', async () => {
    const run = await runHoldfast(['status'], { dataDir: join(folder, 'none') });

    expect(run.stdout).toBe('');
    expect(run.stderr).toMatch(/^holdfast: No Holdfast runs on .*\n {2}Start it with/);
  });

  test('an unknown setting in the environment is named', async () => {
    const run = await runHoldfast(['status'], { env: { HOLDFAST_PROT: '1' } });

    expect(run.exitCode).toBe(2);
    expect(run.stderr).toContain('Unknown setting HOLDFAST_PROT');
  });
});

describe('without an appliance', () => {
  for (const args of [['snapshots'], ['import', '/tmp'], ['keys', 'status']]) {
    test(`${args.join(' ')} says that none runs, and ends with 1`, async () => {
      const run = await runHoldfast([...args, '--json'], { dataDir: join(folder, 'none') });

      expect(run.exitCode).toBe(1);
      expect(JSON.parse(run.stdout)).toMatchObject({
        error: { code: 'unavailable', hint: expect.stringContaining('holdfast serve') as unknown },
      });
    });
  }

  test('doctor still checks what it can', async () => {
    const run = await runHoldfast(['doctor', '--json'], { dataDir: join(folder, 'none') });

    expect(run.exitCode).toBe(1);
    expect(JSON.parse(run.stdout)).toMatchObject({
      state: 'bad',
      items: expect.arrayContaining([
        expect.objectContaining({ name: 'program', state: 'ok' }),
        expect.objectContaining({ name: 'appliance', state: 'bad' }),
      ]) as unknown,
    });
  });

  for (const command of ['verify', 'restore', 'recover']) {
    test(`${command} from a folder without a repository ends with 10 and leaves nothing behind`, async () => {
      const to = join(folder, `to-${command}`);
      const more = { verify: [], restore: ['--to', to], recover: ['--data', to, '--yes'] }[command] ?? [];
      const run = await runHoldfast([
        command,
        '--from',
        join(folder, 'empty'),
        '--kit',
        kit,
        ...more,
        '--json',
      ]);

      expect(run.exitCode).toBe(10);
      expect(JSON.parse(run.stdout)).toMatchObject({ error: { code: 'no_repository' } });
    });
  }

  test.each([
    ['a snapshot and a moment', 'snapshot: 3\ntoTime: 2030-01-31T14:05:00Z', 2, 'one of them'],
    ['a moment without a zone', 'toTime: 2030-01-31T14:05:00', 2, 'Not an instant'],
    ['a moment', 'toTime: 2030-01-31T14:05:00Z', 10, 'repository'],
    ['a position in the log', 'toLsn: 0/40013A8', 10, 'repository'],
  ])('a recovery by a file with %s', async (_what, lines, exitCode, message) => {
    const file = join(folder, 'recovery.yaml');
    await writeFile(file, `from: ./empty\nkit: ./kit.json\noldMachineIsOff: true\n${lines}\n`);

    const run = await runHoldfast(['recover', '--config', file, '--data', join(folder, 'by-file'), '--json']);

    expect([run.exitCode, run.stdout]).toEqual([exitCode, expect.stringContaining(message)]);
  });

  test('help names the commands and ends with 0', async () => {
    const run = await runHoldfast(['--help']);

    expect(run.exitCode).toBe(0);
    for (const command of ['serve', 'setup', 'recover', 'restore-test', 'verify-report'])
      expect(run.stdout).toContain(command);
  });
});
