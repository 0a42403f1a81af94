/** An appliance that is set up, and after its loss recovered, by files alone, with its target on an SFTP server. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { TargetReply } from '../../server/backups/schema.ts';
import { decryptAge, generateAgeIdentity } from '../../server/keys/index.ts';
import {
  expectStatus,
  finishRun,
  makeFolder,
  removeFolder,
  runHoldfast,
  serveAppliance,
  signIn,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';
import { startSftpServer, type SftpServer } from '../helpers/sftp-server.ts';

vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 });

const PASSWORD = 'copper kettle sings 7';
const env = { HOLDFAST_OWN_MACHINE: 'allow' };
let place: string;
let server: SftpServer;
let folder: string;
let appliance: ServedAppliance;
let operator: { identity: string; recipient: string };
beforeAll(async () => {
  place = await makeFolder('by-file');
  operator = await generateAgeIdentity();
  server = await startSftpServer();
  folder = await server.makeFolder('repository');
  await writeFile(at('password'), `${PASSWORD}\n`);
  await writeFile(at('target-key'), server.privateKey);
  appliance = await serveAppliance({ dataDir: at('data'), env });
});
afterAll(async () => {
  await appliance.stop();
  await server.stop();
  await removeFolder(place);
});

const at = (name: string) => join(place, name);

async function setUp(change: Record<string, unknown> = {}) {
  const file = {
    owner: { name: 'Ada Lovelace', email: 'ada@example.org', passwordFile: 'password' },
    appliance: { name: 'Vault', stage: 'production', region: 'eu-north', allowedRegions: ['eu-north'] },
    kit: { recipient: operator.recipient, file: 'kit.age' },
    target: {
      ...{ name: 'vault-eu', kind: 'sftp', host: '127.0.0.1', port: server.port, region: 'eu-north' },
      ...{ username: server.username, path: folder, signInFile: 'target-key' },
      ...{ hostKey: server.hostKey.fingerprint, ...change },
    },
    firstSnapshot: true,
  };
  await writeFile(at('setup.yaml'), JSON.stringify(file));
  const run = await runHoldfast(['setup', '--config', at('setup.yaml'), '--json'], { dataDir: at('data') });
  return { ...run, json: JSON.parse(run.stdout) as Record<string, unknown> };
}

const outcomes = ({ json }: { json: Record<string, unknown> }) =>
  Object.fromEntries(
    (json.steps as { step: string; outcome: string }[]).map(({ step, outcome }) => [step, outcome]),
  );

test('another host key than the file says stops the set-up, in words that name both; it may then go on', async () => {
  const said = `SHA256:${'A'.repeat(43)}`;

  const stopped = await setUp({ hostKey: said });

  expect(stopped.exitCode).toBe(2);
  const words = JSON.stringify(stopped.json);
  expect(words).toContain(server.hostKey.fingerprint);
  expect(words).toContain(said);
  expect(server.log()).not.toContain('Accepted');
});

test('the file sets a target on the server up, takes the first snapshot, and changes nothing the second time', async () => {
  const first = await setUp();
  const second = await setUp();

  expect([first.exitCode, first.stderr]).toEqual([0, expect.anything()]);
  expect(outcomes(first)).toMatchObject({ target: 'done', 'first snapshot': 'done' });
  expect(outcomes(second)).toMatchObject({ target: 'already', 'first snapshot': 'already' });
  expect(`${first.stdout}${first.stderr}${appliance.output()}`).not.toContain('PRIVATE KEY');
});

test('a recovery file brings it back from there, and it goes on sending', async () => {
  await appliance.stop();
  const kit = await decryptAge(await readFile(at('kit.age')), [operator.identity]);
  await writeFile(at('kit.json'), kit);
  const recovery = {
    from: `sftp://${server.username}@127.0.0.1:${String(server.port)}${folder}`,
    ...{ hostKey: server.hostKey.fingerprint, signInFile: 'target-key' },
    ...{ kit: 'kit.json', oldMachineIsOff: true, goLive: true },
  };
  const recover = async (content: object) => {
    await writeFile(at('recovery.yaml'), JSON.stringify(content));
    return runHoldfast(['recover', '--config', at('recovery.yaml'), '--json'], { dataDir: at('again') });
  };

  const stranger = await recover({ ...recovery, hostKey: `SHA256:${'A'.repeat(43)}` });
  const recovered = await recover(recovery);

  expect(stranger.exitCode).toBe(12);
  expect(stranger.stdout).toContain(server.hostKey.fingerprint);
  expect([recovered.exitCode, recovered.stderr]).toEqual([0, expect.anything()]);
  appliance = await serveAppliance({ dataDir: at('again'), env });
  await signIn(appliance, { email: 'ada@example.org', password: PASSWORD });
  const { items } = await expectStatus(appliance.call<{ items: TargetReply[] }>('GET', '/targets'), 200);
  expect(items).toMatchObject([{ kind: 'sftp', sftp: { path: folder, signsInBy: 'private-key' } }]);
  expect(await finishRun(appliance, appliance.call('POST', '/snapshots'))).toMatchObject({
    state: 'succeeded',
  });
});
