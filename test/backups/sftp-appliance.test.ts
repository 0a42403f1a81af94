/** A whole appliance whose copies go to a real OpenSSH server: added, used, proven, broken off, recovered from. */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { recoverAppliance } from '../../server/backups/index.ts';
import type { TargetProbe, TargetReply } from '../../server/backups/schema.ts';
import { decryptAge, kitToJson, openAgeHeader, type RecoveryKit } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import type { KitMaterial, RestoreTest } from '../../server/restore-tests/schema.ts';
import {
  claimAppliance,
  expectStatus,
  finishRun,
  finishRunOf,
  makeFolder,
  removeFolder,
  runHoldfast,
  serveAppliance,
  signIn,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';
import { startSftpServer, type SftpServer } from '../helpers/sftp-server.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { writeFile } from 'node:fs/promises';

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 });

let place: string;
let server: SftpServer;
let appliance: ServedAppliance;
let kit: RecoveryKit;
let folder: string;
let target: TargetReply;
let snapshotId: string;
let rootFolderId: string;
const CONTENT = randomBytes(300_000);
/** The server of these tests is on this machine, which is otherwise refused. */
const ON_ONE_MACHINE = { HOLDFAST_OWN_MACHINE: 'allow' };

beforeAll(async () => {
  place = await makeFolder('sftp');
  server = await startSftpServer();
  folder = await server.makeFolder('repository');
  appliance = await serveAppliance({ dataDir: join(place, 'data'), env: ON_ONE_MACHINE });
  kit = await claimAppliance(appliance);
  const { items } = await expectStatus(
    appliance.call<{ items: { rootFolderId: string }[] }>('GET', '/workspaces'),
    200,
  );
  rootFolderId = items[0]?.rootFolderId ?? '';
  await upload('note.bin', CONTENT);
});
afterAll(async () => {
  await appliance.stop();
  await server.stop();
  await removeFolder(place);
});

const upload = (name: string, content: Buffer) =>
  expectStatus(appliance.call('PUT', `/folders/${rootFolderId}/files?name=${name}`, content), 201);

function request(change: object = {}) {
  return {
    ...{ name: 'vault', kind: 'sftp', region: 'eu-north', host: '127.0.0.1', port: server.port },
    ...{ username: server.username, path: folder },
    signIn: { kind: 'private-key', privateKey: server.privateKey },
    ...change,
  };
}

const stateOf = (probe: TargetProbe, name: string) =>
  probe.checks.find((check) => check.name === name)?.state;
const probe = (body: object) =>
  expectStatus(appliance.call<TargetProbe>('POST', '/targets/probe', body), 200);
const shown = () => expectStatus(appliance.call<TargetReply>('GET', `/targets/${target.id}`), 200);

describe('before it is added', () => {
  test('the host key is shown, and nobody signs in before it was compared', async () => {
    const found = await probe(request());

    expect(found).toMatchObject({ ok: false, hostKey: { ...server.hostKey, confirmed: false } });
    expect(found.checks.map(({ name }) => name)).toEqual(['host key']);
    expect(server.log()).not.toContain('Accepted');
    await expectStatus(appliance.call('POST', '/targets', request()), 400);
  });

  test('another fingerprint, a stranger and a folder in use are told apart in plain words', async () => {
    const { fingerprint } = server.hostKey;
    const other = await probe(request({ fingerprint: `SHA256:${'A'.repeat(43)}` }));
    const stranger = await probe(request({ fingerprint, username: 'nobody-we-know' }));
    const used = await server.makeFolder('used');
    await server.makeFolder('used/photos');
    const full = await probe(request({ fingerprint, path: used }));
    const nobody = await probe(request({ fingerprint, port: 1 }));

    expect(stateOf(other, 'host key')).toBe('bad');
    expect(stateOf(stranger, 'sign-in')).toBe('bad');
    expect(stateOf(full, 'content')).toBe('bad');
    expect(stateOf(nobody, 'reach')).toBe('bad');
    expect(readdirSync(used)).toEqual(['photos']);
    expect(readdirSync(folder)).toEqual([]);
  });

  test('what is no private key is refused, and a key that is made shows its public half only', async () => {
    const bad = request({ signIn: { kind: 'private-key', privateKey: 'nothing' } });
    await expectStatus(appliance.call('POST', '/targets/probe', bad), 400);

    const made = await expectStatus(
      appliance.call<{ id: string; publicKey: string }>('POST', '/targets/keys'),
      201,
    );

    expect(Object.keys(made).sort()).toEqual(['id', 'publicKey']);
    expect(made.publicKey).toMatch(/^ssh-ed25519 \S+ holdfast$/);
    await server.authorize(made.publicKey);
    const { fingerprint } = server.hostKey;
    const wanted = request({ fingerprint, signIn: { kind: 'made-key', keyId: made.id } });
    const found = await probe(wanted);
    expect(found).toMatchObject({ ok: true, sameDisk: true, existingRepository: null });
    for (const name of ['host key', 'sign-in', 'reach', 'content', 'write', 'read', 'list', 'features']) {
      expect([name, stateOf(found, name)]).toEqual([name, 'ok']);
    }
    target = await expectStatus(appliance.call<TargetReply>('POST', '/targets', wanted), 201);
    expect(target).toMatchObject({
      kind: 'sftp',
      sftp: { hostKey: server.hostKey, signsInBy: 'private-key', publicKey: made.publicKey },
    });
    expect(JSON.stringify(target)).not.toContain('PRIVATE');
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('in use', () => {
  test('a snapshot, a restore test of the appliance and one with the kit pass', async () => {
    const run = await finishRun(appliance, appliance.call('POST', '/snapshots'));
    expect(run).toMatchObject({ state: 'succeeded' });
    snapshotId = run.result.snapshotId ?? '';

    const own = await restoreTest({ keySource: 'test-identity' });
    const withKit = await restoreTest({ keySource: 'recovery-kit', lent: await lendFromKit() });

    expect(own).toMatchObject({ state: 'passed', grade: 'data-proven' });
    expect(withKit).toMatchObject({ state: 'passed', grade: 'kit-proven' });
    // The reports lie beside the backups, also that of the test which had no key of the appliance.
    expect(readdirSync(join(folder, 'reports'))).toHaveLength(2);
    expect(appliance.output()).not.toContain('PRIVATE KEY');
  });

  test('a snapshot is looked into, read back whole, and its audit anchors are found', async () => {
    const content = await appliance.call<{ items: { name: string }[] }>(
      'GET',
      `/snapshots/${snapshotId}/content`,
    );
    expect(content.body.items.map(({ name }) => name)).toEqual(['note.bin']);

    const verified = await finishRun(appliance, appliance.call('POST', '/targets/verify'));

    expect(verified).toMatchObject({ state: 'succeeded' });
  });

  test('a run killed in the middle of its upload leaves nothing half, and the next one goes on', async () => {
    await upload('large.bin', randomBytes(120 * 1024 * 1024));
    const before = packs().length;
    const { id } = await expectStatus(appliance.call<{ id: string }>('POST', '/snapshots'), 202);
    await waitFor('the upload to be under way', () => packs().length > before, 60_000);
    for (const pid of processes(`run.ts\0${id}`)) process.kill(pid, 'SIGKILL');
    expect(await finishRunOf(appliance, id)).toMatchObject({ state: 'failed' });

    const next = await finishRun(appliance, appliance.call('POST', '/snapshots?takeOver=true'));

    expect(next).toMatchObject({ state: 'succeeded' });
    expect(packs().filter((name) => name.includes('.tmp-'))).toEqual([]);
    const verified = await finishRun(appliance, appliance.call('POST', '/targets/verify'));
    expect(verified).toMatchObject({ state: 'succeeded' });
  });

  test('another host key stops everything until an owner accepts it', async () => {
    const before = server.hostKey.fingerprint;
    await server.restart({ newHostKey: true });

    const run = await finishRun(appliance, appliance.call('POST', '/snapshots'));

    expect(run.state).toBe('failed');
    expect(run.error?.message).toContain('another host key');
    expect(await shown()).toMatchObject({
      lastError: { code: 'wrong_key' },
      sftp: { hostKey: { fingerprint: before } },
    });
    const { body } = await appliance.call<TargetProbe>('POST', `/targets/${target.id}/probe`);
    expect(body).toMatchObject({ ok: false, hostKey: { ...server.hostKey, confirmed: false } });
    const path = `/targets/${target.id}/host-key`;
    await expectStatus(appliance.call('PUT', path, { fingerprint: `SHA256:${'A'.repeat(43)}` }), 409);
    const accepted = await expectStatus(
      appliance.call<TargetReply>('PUT', path, { fingerprint: server.hostKey.fingerprint }),
      200,
    );
    expect(accepted).toMatchObject({ lastError: null, sameDisk: true, sftp: { hostKey: server.hostKey } });
    expect(await finishRun(appliance, appliance.call('POST', '/snapshots'))).toMatchObject({
      state: 'succeeded',
    });
    const audit = await appliance.call<{ items: { action: string }[] }>('GET', '/audit?limit=50');
    expect(JSON.stringify(audit.body)).toContain('backups.target.host-key-accepted');
  });

  test('another way to sign in is kept only when it works', async () => {
    const path = `/targets/${target.id}/sign-in`;
    const wrong = { signIn: { kind: 'password', password: 'not this one' } };
    expect((await appliance.call('PUT', path, wrong)).status).toBeGreaterThanOrEqual(400);
    expect((await shown()).sftp?.signsInBy).toBe('private-key');

    const right = { signIn: { kind: 'private-key', privateKey: server.privateKey } };
    await expectStatus(appliance.call('PUT', path, right), 200);

    const { body } = await appliance.call<TargetProbe>('POST', `/targets/${target.id}/probe`);
    expect(body).toMatchObject({ ok: true });
  });

  test('the log is shipped to it on after keyd was started again', async () => {
    const limits = { windowDays: 7, objectiveSeconds: 300, pileLimitBytes: null };
    await expectStatus(appliance.call('PUT', '/point-in-time', { enabled: true, ...limits }), 200);
    await waitFor('the log to be shipped', () => pieces() > 0, 150_000);
    const keyd = () => processes('server/keyd.ts', `HOLDFAST_DATA=${appliance.dataDir}\0`);
    const [killed] = keyd();
    expect(killed).toBeGreaterThan(0);

    process.kill(killed ?? 0, 'SIGKILL');
    await waitFor('another keyd', () => keyd().some((pid) => pid !== killed));
    server.cut();
    const before = pieces();
    await waitFor('keyd to be back', async () => {
      const path = `/folders/${rootFolderId}/files?name=after.bin`;
      return (await appliance.call('PUT', path, randomBytes(1000))).status === 201;
    });

    await waitFor('the log to be shipped on', () => pieces() > before, 150_000);
    await expectStatus(appliance.call('PUT', '/point-in-time', { enabled: false, ...limits }), 200);
  }, 400_000);
});

describe('after the machine is lost', () => {
  test('files come back by the command, which shows the host key before it signs in', async () => {
    const kitFile = join(place, 'kit.json');
    const keyFile = join(place, 'target-key');
    await writeFile(kitFile, kitToJson(kit));
    await writeFile(keyFile, server.privateKey);
    const from = `sftp://${server.username}@127.0.0.1:${String(server.port)}${folder}`;
    const args = ['verify', '--from', from, '--kit', kitFile, '--structure', '--sign-in-file', keyFile];

    const unknown = await runHoldfast(args);
    const known = await runHoldfast([...args, '--host-key', server.hostKey.fingerprint]);

    expect(unknown.exitCode).not.toBe(0);
    expect(unknown.stderr).toContain(server.hostKey.fingerprint);
    expect([known.exitCode, known.stderr]).toEqual([0, expect.anything()]);
  });

  test('the appliance is recovered, and goes on sending to the same server', async () => {
    await appliance.stop();
    const dataDir = join(place, 'recovered');
    const report = await recoverAppliance({
      ...{ target: server.config(folder), kit, dataDir, clock: systemClock, goLive: true },
      confirm: async () => true,
      signal: new AbortController().signal,
    });
    expect(report.files).toBeGreaterThan(0);

    appliance = await serveAppliance({ dataDir, env: ON_ONE_MACHINE });
    await signIn(appliance);

    expect(await shown()).toMatchObject({ kind: 'sftp', sftp: { hostKey: server.hostKey } });
    const { body } = await appliance.call<{ items: { id: string; name: string }[] }>(
      'GET',
      `/folders/${rootFolderId}`,
    );
    const note = body.items.find(({ name }) => name === 'note.bin');
    const content = await appliance.call<Buffer>('GET', `/files/${note?.id ?? ''}/content`);
    expect(Buffer.from(content.body).equals(CONTENT)).toBe(true);
    expect(await finishRun(appliance, appliance.call('POST', '/snapshots'))).toMatchObject({
      state: 'succeeded',
    });
  });
});

function packs(): string[] {
  try {
    return readdirSync(join(folder, 'packs'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.includes('/'),
    );
  } catch {
    return [];
  }
}

/** Ids of the processes with that in their command, and in their environment. */
function processes(command: string, environment = ''): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const read = (file: string) => readFileSync(`/proc/${pid}/${file}`, 'utf8');
        return read('cmdline').includes(command) && read('environ').includes(environment);
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** Of the log. */
function pieces(): number {
  const path = join(folder, 'wal');
  return existsSync(path)
    ? readdirSync(path, { recursive: true }).filter((name) => String(name).endsWith('.age')).length
    : 0;
}

async function restoreTest(source: object): Promise<RestoreTest> {
  const started = await expectStatus(
    appliance.call<{ id: string; runId: string }>('POST', '/restore-tests', {
      ...{ snapshotId, targetId: target.id, mode: 'full' },
      ...source,
    }),
    202,
  );
  await finishRunOf(appliance, started.runId);
  return expectStatus(appliance.call<RestoreTest>('GET', `/restore-tests/${started.id}`), 200);
}

/** What the page does with a kit. */
async function lendFromKit(): Promise<object> {
  const material = await expectStatus(
    appliance.call<KitMaterial>('GET', `/restore-tests/kit-material?targetId=${target.id}`),
    200,
  );
  const keys = await decryptAge(Buffer.from(material.keysObject, 'base64'), [kit.ageIdentity]);
  const keyringFileKeys = [];
  for (const { name, header } of material.keyring) {
    const { fileKey } = await openAgeHeader(Buffer.from(header, 'base64'), [kit.ageIdentity]);
    keyringFileKeys.push({ name, fileKey: fileKey.toString('base64') });
  }
  return { kitId: kit.kitId, keys: keys.toString('base64'), keyringFileKeys };
}
