/** Set-up by file on a machine: the real program with the real hostd application; the disk is an image file. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildHostApp } from '../../../server/appliance/host/host-app.ts';
import { buildUnlockConsole } from '../../../server/appliance/host/unlock/app.ts';
import { openUnlockDesk } from '../../../server/appliance/host/unlock/desk.ts';
import { findVolume, isOpen, makeVolume, openByKey } from '../../../server/appliance/host/unlock/volume.ts';
import { shareRoutes } from '../../../server/appliance/host/shares/routes.ts';
import { openShares } from '../../../server/appliance/host/shares/shares.ts';
import { volumeRoutes } from '../../../server/appliance/host/volume/routes.ts';
import { readWays } from '../../../server/appliance/host/ways/file.ts';
import { decryptAge, generateAgeIdentity, parseRecoveryKit } from '../../../server/keys/index.ts';
import { createLog } from '../../../server/lib/log.ts';
import { runProcess } from '../../../server/lib/spawn.ts';
import { isRoot } from '../../helpers/other-account.ts';
import {
  makeFolder,
  removeFolder,
  runHoldfast,
  serveAppliance,
  type ServedAppliance,
} from '../../helpers/served-appliance.ts';
import { ACTOR, makeImageMachine, PASSPHRASE, type ImageMachine } from './image-machine.ts';

let machine: ImageMachine;
let hostd: FastifyInstance;
let appliance: ServedAppliance;
let folder: string;
let operator: { identity: string; recipient: string };
let env: Record<string, string>;
const points: string[] = [];

beforeAll(async () => {
  [machine, folder, operator] = await Promise.all([
    makeImageMachine(),
    makeFolder('machine-setup'),
    generateAgeIdentity(),
  ]);
  await machine.addDisk('disk');
  const choice = await findVolume(machine.deps);
  if (choice.kind !== 'blank') throw new Error('the disk should be blank');
  await makeVolume(machine.deps, choice.disk);
  const shares = openShares({
    ...machine.deps,
    mounts: {
      mount: ({ point }) => {
        points.push(point);
        return must('mount', '--bind', join(folder, 'target'), point);
      },
      unmount: ({ point }) => must('umount', point),
    },
    owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
  });
  hostd = await buildHostApp(machine.deps, [volumeRoutes(machine.deps), shareRoutes(shares)]);
  const socket = join(machine.places.run, 'host.sock');
  await hostd.listen({ path: socket });
  env = { HOLDFAST_HOST_SOCKET: socket };
  appliance = await serveAppliance({ env });
  await mkdir(join(folder, 'target'));
  await writeFile(join(folder, 'password'), 'copper kettle sings 7\n');
  await writeFile(join(folder, 'passphrase'), `${PASSPHRASE}\n`);
}, 180_000);
afterAll(async () => {
  await appliance.stop();
  await hostd.close();
  await unmountAll();
  await machine.close();
  await removeFolder(folder);
  await removeFolder(join(appliance.dataDir, '..'));
}, 60_000);

async function must(command: string, ...args: string[]): Promise<void> {
  const { exitCode, stderr } = await runProcess(command, args, { timeoutMs: 10_000 });
  if (exitCode !== 0) throw new Error(stderr);
}

async function unmountAll(): Promise<void> {
  for (const point of points.splice(0)) await runProcess('umount', [point], { timeoutMs: 10_000 });
}

async function restart(): Promise<void> {
  await unmountAll();
  await machine.restart();
}

/** A folder stands for the server; only root may mount, others have the folder as it is. */
const PLACE = { kind: 'nfs', server: 'nas.example.org', export: '/volume1/backups' };

async function setUp(volume: object, more: object = {}) {
  const path = join(folder, 'setup.yaml');
  const answers = {
    owner: { name: 'Ada Lovelace', email: 'ada@example.org', passwordFile: 'password' },
    appliance: { name: 'Vault', stage: 'production', region: 'eu-north', allowedRegions: ['eu-north'] },
    kit: { recipient: operator.recipient, file: 'kit.age' },
    volume,
    ...(isRoot ? { share: { label: 'NAS', place: PLACE } } : {}),
    target: {
      name: 'nas',
      kind: 'directory',
      region: 'eu-north',
      ...(isRoot ? {} : { path: join(folder, 'target') }),
    },
    ...more,
  };
  await writeFile(path, JSON.stringify(answers));
  const run = await runHoldfast(['setup', '--config', path, '--json'], { dataDir: appliance.dataDir, env });
  return { exitCode: run.exitCode, json: JSON.parse(run.stdout) as { steps?: unknown; error?: unknown } };
}

test('without a way for the volume it is refused before anything is done', async () => {
  const run = await setUp({ daily: 'passphrase' });

  expect(run).toMatchObject({ exitCode: 2, json: { error: { code: 'invalid_input' } } });
  expect(await readWays(machine.places)).toBeUndefined();
});

test.each([
  [{ passphraseFile: 'passphrase', tpmPcrs: '7' }, 'volume.tpmPcrs binds a TPM'],
  [{ daily: 'tpm2', tpmPcrs: '7+11' }, 'volume.tpmPcrs'],
])('registers for what asks no TPM, or of which an update changes one, are refused', async (volume, said) => {
  expect(await setUp(volume)).toMatchObject({
    exitCode: 2,
    json: { error: { code: 'invalid_input', message: expect.stringContaining(said) as string } },
  });
  expect(await readWays(machine.places)).toBeUndefined();
});

test('with a share and a path, or with neither, it is refused', async () => {
  const target = { name: 'nas', kind: 'directory', region: 'eu-north' };

  for (const more of [
    { share: undefined, target },
    { share: { label: 'NAS', place: PLACE }, target: { ...target, path: join(folder, 'target') } },
  ]) {
    expect(await setUp({ passphraseFile: 'passphrase' }, more)).toMatchObject({
      exitCode: 2,
      json: { error: { message: expect.stringContaining('one of them') as string } },
    });
  }
});

test('it gives the volume its ways; the kit holds the key that opens it, and a second time does nothing', async () => {
  const run = await setUp({ passphraseFile: 'passphrase' });

  expect(run).toMatchObject({
    exitCode: 0,
    json: {
      steps: expect.arrayContaining([
        expect.objectContaining({ step: 'data volume', outcome: 'done' }),
        expect.objectContaining({ step: 'recovery kit', outcome: 'done' }),
      ]) as unknown,
    },
  });
  const opened = await decryptAge(await readFile(join(folder, 'kit.age')), [operator.identity]);
  const { kit } = parseRecoveryKit(Buffer.from(opened).toString('utf8'));
  expect((await readWays(machine.places))?.ways.map((way) => way.kind)).toEqual([
    'recovery-key',
    'passphrase',
  ]);
  const again = await setUp({ passphraseFile: 'passphrase' });
  expect(again.exitCode).toBe(0);
  if (isRoot) {
    expect(run.json.steps).toContainEqual({
      step: 'share',
      outcome: 'done',
      note: expect.stringMatching(/shares\/[^/]+\/holdfast$/) as string,
    });
    expect(JSON.stringify(again.json.steps)).toContain('"step":"share","outcome":"already"');
  }
  expect((await readWays(machine.places))?.ways).toHaveLength(2);
  await restart();
  const choice = await findVolume(machine.deps);
  if (choice.kind === 'own') await openByKey(machine.deps, choice, kit?.volumeRecoveryKey ?? '', ACTOR);
  expect(await isOpen(machine.deps)).toBe(true);
}, 120_000);

test('the command at the console opens a locked machine, and says it of one that does not wait', async () => {
  await restart();
  const socket = join(folder, 'unlock.sock');
  const desk = openUnlockDesk(machine.deps, () => undefined);
  await desk.start();
  const console = buildUnlockConsole(desk, createLog('silent', 'test'), () => ({}));
  await console.listen({ path: socket });
  const unlock = async (...args: string[]) =>
    runHoldfast(['unlock', '--socket', socket, '--json', ...args], { dataDir: appliance.dataDir, env });
  await writeFile(join(folder, 'wrong'), 'not the key of this volume\n');

  expect((await unlock('--status')).stdout).toContain('"locked"');
  expect((await unlock('--key-file', join(folder, 'wrong'))).exitCode).toBe(12);
  expect(await isOpen(machine.deps)).toBe(false);
  expect((await unlock('--key-file', join(folder, 'passphrase'))).exitCode).toBe(0);
  expect(await isOpen(machine.deps)).toBe(true);

  await console.close();
  await rm(socket, { force: true });
  expect((await unlock('--status')).stdout).toContain('does not wait for a key');
}, 120_000);
