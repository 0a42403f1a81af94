import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { readRegion } from '../../../server/appliance/host/region.ts';
import {
  eraseSetupFile,
  readSetupProblem,
  recordSetupDone,
  recoveryFilePath,
  setupFilePath,
  takeCloudSetup,
} from '../../../server/appliance/host/setup-from-cloud.ts';
import { readRecoveryFile } from '../../../server/cli/recovery-file.ts';
import { readSetupFile } from '../../../server/cli/setup-file.ts';
import { makeImageMachine, type ImageMachine } from './image-machine.ts';

const PASSWORD = 'canary-owner-password-7';
const PASSPHRASE = 'canary volume passphrase 9';
const KIT = `{"canary-kit": "${'z'.repeat(60)}"}`;
const SETUP = {
  owner: { name: 'Ada', email: 'ada@example.org', password: PASSWORD },
  appliance: { name: 'Vault', stage: 'production', region: 'eu-north', allowedRegions: ['eu-north'] },
  kit: { recipient: `age1${'q'.repeat(58)}`, file: '/data/recovery-kit.age' },
  volume: { passphrase: PASSPHRASE },
  certificate: { certificate: `PEM ${'x'.repeat(80)}`, key: `canary-key ${'y'.repeat(80)}` },
  target: { name: 'nas', kind: 'directory', path: '/mnt/nas', region: 'eu-north' },
};

let machine: ImageMachine;
beforeEach(async () => {
  machine = await makeImageMachine();
  await mkdir(machine.places.cloudInstance, { recursive: true });
  await mkdir(machine.places.cloudRun, { recursive: true });
});
afterEach(() => machine.close());

async function give(config: unknown): Promise<void> {
  const text = typeof config === 'string' ? config : `#cloud-config\n${JSON.stringify(config)}`;
  await writeFile(join(machine.places.cloudInstance, 'cloud-config.txt'), text);
  await writeFile(join(machine.places.cloudInstance, 'user-data.txt'), text);
  await writeFile(join(machine.places.cloudRun, 'instance-data-sensitive.json'), JSON.stringify({ text }));
  await writeFile(
    join(machine.places.cloudRun, 'combined-cloud-config.json'),
    typeof config === 'string' ? config : JSON.stringify(config),
  );
}

async function everything(directory: string): Promise<string> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const texts = await Promise.all(
    files.map((entry) => readFile(join(entry.parentPath, entry.name), 'latin1')),
  );
  return texts.join('\n');
}

describe('the section of cloud-init', () => {
  test('becomes a set-up file that set-up reads, its secrets in files of their own in memory', async () => {
    await give({ hostname: 'vault', holdfast: { dataDisk: '/dev/disk/by-id/data', setup: SETUP } });

    const taken = await takeCloudSetup(machine.deps);

    expect(taken.dataDisk).toBe('/dev/disk/by-id/data');
    const setup = await readSetupFile(setupFilePath(machine.places));
    expect(await readFile(setup.owner.passwordFile ?? '', 'utf8')).toBe(`${PASSWORD}\n`);
    expect(await readFile(setup.certificate?.keyFile ?? '', 'utf8')).toContain('canary-key');
    expect(await readFile(setup.volume?.passphraseFile ?? '', 'utf8')).toBe(`${PASSPHRASE}\n`);
  });

  test('becomes a recovery file that recovery reads, its kit and secrets in files of their own in memory', async () => {
    const share = { label: 'NAS', place: { kind: 'disk', uuid: '5fdf03b8-0ccd-499c-bfbb-79ca1057ac38' } };
    await give({
      holdfast: {
        recover: { kit: KIT, share, snapshot: 3, oldMachineIsOff: true, volume: { passphrase: PASSPHRASE } },
      },
    });

    await takeCloudSetup(machine.deps);

    const recovery = await readRecoveryFile(recoveryFilePath(machine.places));
    expect(recovery).toMatchObject({ share, snapshot: 3, oldMachineIsOff: true });
    expect(await readFile(recovery.kit, 'utf8')).toBe(`${KIT}\n`);
    expect(await readFile(recovery.volume?.passphraseFile ?? '', 'utf8')).toBe(`${PASSPHRASE}\n`);
    for (const folder of [machine.places.cloudInstance, machine.places.cloudRun, machine.places.state])
      expect(await everything(folder)).not.toMatch(/canary/);
    await eraseSetupFile(machine.places);
    expect(await everything(machine.places.run)).not.toMatch(/canary/);
  });

  test('that asks for a set-up and a recovery is refused as a whole', async () => {
    await give({ holdfast: { setup: SETUP, recover: { kit: KIT, from: '/mnt/x', oldMachineIsOff: true } } });

    await takeCloudSetup(machine.deps);

    expect(await readSetupProblem(machine.places)).toMatch(/both setup and recover/);
    expect(await everything(machine.places.run)).not.toMatch(/canary/);
  });

  test('is taken out of all that cloud-init keeps; its other sections stay', async () => {
    await give({ hostname: 'vault', holdfast: { setup: SETUP } });

    await takeCloudSetup(machine.deps);

    for (const folder of [machine.places.cloudInstance, machine.places.cloudRun, machine.places.state])
      expect(await everything(folder)).not.toMatch(/canary/);
    const rest = await readFile(join(machine.places.cloudInstance, 'cloud-config.txt'), 'utf8');
    expect(parse(rest)).toEqual({ hostname: 'vault' });
  });

  test('is erased once set-up is done, and left alone at the next start', async () => {
    await give({ holdfast: { dataDisk: '/dev/vdb', setup: SETUP } });
    await takeCloudSetup(machine.deps);

    await recordSetupDone(machine.deps);
    await eraseSetupFile(machine.places);
    expect(await everything(machine.root)).not.toMatch(/canary/);
    await give({ holdfast: { dataDisk: '/dev/vdb', setup: SETUP } });

    expect(await takeCloudSetup(machine.deps)).toMatchObject({ dataDisk: '/dev/vdb' });
    expect(await everything(machine.root)).not.toMatch(/canary/);
  });

  const wrong: [string, unknown][] = [
    ['with an unknown word', { holdfast: { setpu: SETUP } }],
    ['with a disk that is none', { holdfast: { dataDisk: 'sdb', setup: SETUP } }],
    [
      'with a passphrase that is too short',
      { holdfast: { setup: { ...SETUP, volume: { passphrase: 'canary' } } } },
    ],
    ['that is not YAML', `#cloud-config\nholdfast: {setup: [${PASSWORD}`],
    ['of half a megabyte', `#cloud-config\nholdfast: {}\nx: ${'a'.repeat(600_000)}${PASSWORD}`],
  ];
  for (const [name, config] of wrong) {
    test(`${name} is refused as a whole, said, and erased all the same`, async () => {
      await give(config);

      expect(await takeCloudSetup(machine.deps)).toEqual({ dataDisk: undefined, network: undefined });

      const said = await readFile(join(machine.places.run, 'setup-problem.json'), 'utf8');
      expect(said).toContain('cloud configuration');
      expect((await machine.deps.journal.list()).at(-1)).toMatchObject({ action: 'host.setup.refused' });
      expect(await everything(machine.root)).not.toMatch(/canary/);
    });
  }

  test('is not needed', async () => {
    expect(await takeCloudSetup(machine.deps)).toEqual({ dataDisk: undefined, network: undefined });
    await give({ hostname: 'vault' });
    expect(await takeCloudSetup(machine.deps)).toEqual({ dataDisk: undefined, network: undefined });
  });
});

describe('the region', () => {
  const instance = (value: unknown) =>
    writeFile(join(machine.places.cloudRun, 'instance-data.json'), JSON.stringify(value));
  const image = async (value: object) => {
    await mkdir(join(machine.places.imageFile, '..'), { recursive: true });
    await writeFile(
      machine.places.imageFile,
      JSON.stringify({ product: 'holdfast', version: '1.0.0', ...value }),
    );
  };

  test('comes from the metadata before the image, and from neither when they do not say', async () => {
    expect(await readRegion(machine.places)).toEqual({ name: null, knownBy: null, allowedRegions: null });
    await image({ region: 'eu-west-3', allowedRegions: ['eu-west-3', 'eu-central-1'] });
    expect(await readRegion(machine.places)).toMatchObject({ name: 'eu-west-3', knownBy: 'image' });

    await instance({ v1: { region: 'eu-central-1', cloud_name: 'aws' } });

    expect(await readRegion(machine.places)).toEqual({
      name: 'eu-central-1',
      knownBy: 'metadata',
      allowedRegions: ['eu-west-3', 'eu-central-1'],
    });
  });

  test('is not believed when it is no region', async () => {
    for (const region of [null, 7, '', 'x\ny', 'a'.repeat(100), '<b>']) {
      await instance({ v1: { region } });
      expect((await readRegion(machine.places)).knownBy).toBeNull();
    }
    await writeFile(join(machine.places.cloudRun, 'instance-data.json'), '{"v1":');
    expect((await readRegion(machine.places)).knownBy).toBeNull();
  });
});
