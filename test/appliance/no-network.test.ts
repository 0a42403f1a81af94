import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decryptAge, generateAgeIdentity } from '../../server/keys/index.ts';
import {
  makeFolder,
  removeFolder,
  runHoldfast,
  serveAppliance,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';

/** A network namespace of its own, without so much as a loopback address. */
const CUT_OFF = process.getuid?.() === 0 ? ['unshare', '-n'] : ['unshare', '-c', '-n'];

let folder = '';
let appliance: ServedAppliance;

beforeAll(async () => {
  folder = await makeFolder('no-network');
  appliance = await serveAppliance({
    dataDir: join(folder, 'data'),
    within: CUT_OFF,
    env: { HOLDFAST_HOST: '0.0.0.0' },
  });
}, 120_000);

afterAll(async () => {
  await appliance.stop();
  await removeFolder(folder);
});

describe('with the network cut off', () => {
  it('an appliance is set up by file, takes files in, is proven with its kit, and gives them back', async () => {
    const holder = await generateAgeIdentity();
    await mkdir(join(folder, 'target'));
    await mkdir(join(folder, 'source'));
    await writeFile(join(folder, 'source', 'plan.txt'), 'what we do on the worst day');
    await writeFile(join(folder, 'password'), 'stable horse with 9 batteries\n', { mode: 0o600 });
    await writeFile(join(folder, 'setup.yaml'), JSON.stringify(setupFile(holder.recipient)));

    const setup = await command('setup', '--config', join(folder, 'setup.yaml'), '--json');
    const imported = await command('import', join(folder, 'source'), '--json');
    const snapshot = await command('snapshot', '--json');
    const test = await command('restore-test', '--json');
    const restored = await command('restore', 'latest', '--to', join(folder, 'restored'), '--json');

    expect(await command('setup', '--config', join(folder, 'setup.yaml'), '--json')).toMatchObject({
      exitCode: 0,
    });
    expect([setup, imported, snapshot, test, restored].map((one) => one.exitCode)).toEqual([0, 0, 0, 0, 0]);
    expect(await findFile(join(folder, 'restored'), 'plan.txt')).toBe('what we do on the worst day');
    const kit = await decryptAge(await readFile(join(folder, 'kit.age')), [holder.identity]);
    expect(kit.toString('utf8')).toContain('holdfast-recovery-kit');
  }, 240_000);
});

async function command(...args: string[]): Promise<{ exitCode: number | null; stderr: string }> {
  const done = await runHoldfast(args, { dataDir: appliance.dataDir });
  if (done.exitCode !== 0) throw new Error(`${args.join(' ')}: ${done.stdout}${done.stderr}`);
  return done;
}

function setupFile(recipient: string): object {
  return {
    owner: { name: 'Ada', email: 'ada@example.org', passwordFile: './password' },
    appliance: { name: 'Island', stage: 'development', region: 'eu-north', allowedRegions: ['eu-north'] },
    kit: { recipient, file: './kit.age' },
    target: { name: 'nas', kind: 'directory', path: join(folder, 'target'), region: 'eu-north' },
    firstSnapshot: true,
    firstRestoreTest: true,
  };
}

async function findFile(below: string, name: string): Promise<string> {
  const entries = await readdir(below, { recursive: true, withFileTypes: true });
  const found = entries.find((entry) => entry.name === name);
  return found === undefined ? 'not found' : readFile(join(found.parentPath, found.name), 'utf8');
}
