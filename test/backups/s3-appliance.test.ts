/** A whole appliance whose copies go to an S3 server that other people wrote: added, used, broken off, keys changed, recovered from. */
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { recoverAppliance } from '../../server/backups/index.ts';
import type { TargetProbe, TargetReply } from '../../server/backups/schema.ts';
import { kitToJson, type RecoveryKit } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { startBadLine, startS3Server, type BadLine, type S3Server } from '../helpers/s3-server.ts';
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
import { waitFor } from '../helpers/wait-for.ts';

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 });

const KEY = { kind: 'access-key', accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' };
const ON_ONE_MACHINE = { HOLDFAST_OWN_MACHINE: 'allow' };
const CONTENT = randomBytes(300_000);
let place: string;
let server: S3Server;
let line: BadLine;
let appliance: ServedAppliance;
let kit: RecoveryKit;
let target: TargetReply;
let rootFolderId: string;

beforeAll(async () => {
  place = await makeFolder('s3');
  server = await startS3Server();
  line = await startBadLine({ port: server.port });
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
  await line.stop();
  await server.stop();
  await removeFolder(place);
});

const upload = (name: string, content: Buffer) =>
  expectStatus(appliance.call('PUT', `/folders/${rootFolderId}/files?name=${name}`, content), 201);

function request(change: object = {}) {
  return {
    ...{ name: 'vault', kind: 's3', region: 'eu-north', endpoint: line.endpoint, bucket: 'holdfast-test' },
    ...{ prefix: 'one/repository', pathStyle: true, signIn: KEY },
    ...change,
  };
}

const probe = (body: object) =>
  expectStatus(appliance.call<TargetProbe>('POST', '/targets/probe', body), 200);
const checkOf = (found: TargetProbe, name: string) => found.checks.find((check) => check.name === name);
const shown = () => expectStatus(appliance.call<TargetReply>('GET', `/targets/${target.id}`), 200);

describe('before it is added', () => {
  test('a region that is not allowed is refused before a byte is sent', async () => {
    await expectStatus(appliance.call('POST', '/targets/probe', request({ region: 'us-east-1' })), 403);

    expect(line.requests).toEqual([]);
  });

  test('a bucket that stands elsewhere than was said is refused before anything is written', async () => {
    line.strike = ({ method }) =>
      method === 'HEAD'
        ? { kind: 'answer', status: 200, headers: { 'x-amz-bucket-region': 'us-west-2' } }
        : undefined;

    const found = await probe(request());

    expect(found.ok).toBe(false);
    expect(checkOf(found, 'region')).toMatchObject({
      state: 'bad',
      message: expect.stringContaining('us-west-2') as string,
    });
    expect(line.requests.filter(({ method }) => method === 'PUT')).toEqual([]);
    line.strike = () => undefined;
  });

  test('plain HTTP to another machine, and what is no certificate, are refused', async () => {
    const changes = [
      { endpoint: 'http://192.0.2.7:9000' },
      { ca: 'not PEM' },
      { prefix: '../x' },
      { bucket: 'A' },
    ];
    const before = line.requests.length;
    for (const change of changes) {
      await expectStatus(appliance.call('POST', '/targets/probe', request(change)), 400);
    }
    expect(line.requests).toHaveLength(before);
  });

  test('a stranger’s key and a missing bucket are told apart in plain words', async () => {
    const stranger = await probe(request({ signIn: { ...KEY, accessKeyId: 'STRANGER' } }));
    const missing = await probe(request({ bucket: 'another-bucket' }));

    expect(checkOf(stranger, 'sign-in')?.message).toContain('does not know this access key');
    expect(checkOf(missing, 'reach')?.message).toContain('no bucket another-bucket');
  });

  test('a lock on a bucket that has none is refused', async () => {
    const found = await probe(request({ lock: { mode: 'compliance', days: 30 } }));

    expect(checkOf(found, 'lock')).toMatchObject({ state: 'bad' });
  });

  test('a trial says what it found, and leaves nothing', async () => {
    const found = await probe(request());

    expect(found).toMatchObject({ ok: true, existingRepository: null });
    expect(found.checks.map(({ name, state }) => `${name} ${state}`)).toEqual([
      ...[
        'sign-in ok',
        'reach ok',
        'region ok',
        'place warn',
        'content ok',
        'write ok',
        'read ok',
        'list ok',
      ],
      ...['delete warn', 'once warn', 'versions ok', 'lock ok', 'space ok', 'clock ok'],
    ]);
    expect(await server.files('one')).toEqual([]);
  });
});

describe('in use', () => {
  test('it is added without the secret being shown or logged anywhere', async () => {
    const secretAccessKey = 'S3RVER';
    target = await expectStatus(appliance.call<TargetReply>('POST', '/targets', request()), 201);

    expect(target).toMatchObject({
      kind: 's3',
      s3: { bucket: 'holdfast-test', signsInBy: 'access-key', accessKeyId: 'S3RVER', lock: null },
    });
    expect(target.location).toContain('s3://holdfast-test/one/repository?endpoint=');
    expect(JSON.stringify(target.s3)).not.toContain('secret');
    expect(secretAccessKey).toBe(KEY.secretAccessKey);
  });

  test('a snapshot is stored and verified, over a line that fails now and then', async () => {
    let count = 0;
    line.strike = () => (++count % 9 === 0 ? { kind: 'cut-after' } : undefined);

    expect(await finishRun(appliance, appliance.call('POST', '/snapshots'))).toMatchObject({
      state: 'succeeded',
    });
    expect(await finishRun(appliance, appliance.call('POST', '/targets/verify'))).toMatchObject({
      state: 'succeeded',
    });
    expect(await finishRun(appliance, appliance.call('POST', '/targets/prune'))).toMatchObject({
      state: 'succeeded',
    });
    line.strike = () => undefined;
    expect(await shown()).toMatchObject({ lastError: null });
  });

  test('a run that is killed in the middle of its upload leaves nothing half, and the next one goes on', async () => {
    await upload('large.bin', randomBytes(60 * 1024 * 1024));
    const before = line.requests.length;
    const { id } = await expectStatus(appliance.call<{ id: string }>('POST', '/snapshots'), 202);
    const packs = () =>
      line.requests.slice(before).filter(({ method, url }) => method === 'PUT' && url.includes('/packs/'));
    await waitFor('the upload to be under way', () => packs().length > 0, 60_000);
    for (const pid of runProcesses(id)) process.kill(pid, 'SIGKILL');
    expect(await finishRunOf(appliance, id)).toMatchObject({ state: 'failed' });

    const next = await finishRun(appliance, appliance.call('POST', '/snapshots?takeOver=true'));

    expect(next).toMatchObject({ state: 'succeeded' });
    expect(await finishRun(appliance, appliance.call('POST', '/targets/verify'))).toMatchObject({
      state: 'succeeded',
    });
  });

  test('another key is kept only when it works', async () => {
    const path = `/targets/${target.id}/sign-in`;
    const wrong = { signIn: { ...KEY, accessKeyId: 'STRANGER' } };
    expect((await appliance.call('PUT', path, wrong)).status).toBe(502);
    expect((await appliance.call('PUT', path, { signIn: { kind: 'password', password: 'x' } })).status).toBe(
      409,
    );
    expect((await shown()).s3?.accessKeyId).toBe('S3RVER');

    const changed = await expectStatus(appliance.call<TargetReply>('PUT', path, { signIn: KEY }), 200);

    expect(changed.s3?.signsInBy).toBe('access-key');
    const again = await appliance.call<TargetProbe>('POST', `/targets/${target.id}/probe`);
    expect(again.body).toMatchObject({ ok: true });
    const audit = await appliance.call('GET', '/audit?limit=50');
    expect(JSON.stringify(audit.body)).toContain('backups.target.sign-in-changed');
  });
});

describe('after the machine is lost', () => {
  test('the copy is verified by the command, with the key from a file', async () => {
    const kitFile = join(place, 'kit.json');
    const keyFile = join(place, 'target-key');
    await writeFile(kitFile, kitToJson(kit));
    await writeFile(keyFile, 'S3RVER\nS3RVER\n');
    const from = `s3://holdfast-test/one/repository?endpoint=${server.endpoint}`;
    const args = ['verify', '--from', from, '--kit', kitFile, '--structure', '--sign-in-file', keyFile];

    expect(await runHoldfast(args)).toMatchObject({ exitCode: 0 });
    const inAddress = await runHoldfast([
      'verify',
      '--from',
      from.replace('//', '//id:secret@'),
      '--kit',
      kitFile,
    ]);
    expect([inAddress.exitCode, inAddress.stderr]).toEqual([2, expect.stringContaining('does not belong')]);
  });

  test('the appliance is recovered, and goes on sending to the same bucket when the key is given again', async () => {
    await appliance.stop();
    const dataDir = join(place, 'recovered');
    const report = await recoverAppliance({
      target: server.config('one/repository', { endpoint: line.endpoint, region: 'eu-north' }),
      ...{ kit, dataDir, clock: systemClock, confirm: async () => true, goLive: true },
      signal: new AbortController().signal,
    });
    expect(report.files).toBeGreaterThan(0);

    appliance = await serveAppliance({ dataDir, env: ON_ONE_MACHINE });
    await signIn(appliance);

    expect(await shown()).toMatchObject({ kind: 's3', s3: { signsInBy: 'access-key' } });
    expect(await finishRun(appliance, appliance.call('POST', '/snapshots'))).toMatchObject({
      state: 'succeeded',
    });
  });
});

function runProcesses(runId: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`run.ts\0${runId}`);
      } catch {
        return false;
      }
    })
    .map(Number);
}
