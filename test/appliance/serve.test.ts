import { readFile, writeFile, mkdir, readdir } from 'node:fs/promises';
import { connect } from 'node:tls';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  claimAppliance,
  expectStatus,
  makeFolder,
  OWNER,
  removeFolder,
  runHoldfast,
  serveAppliance,
  signIn,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';

let folder = '';
let appliance: ServedAppliance;

beforeAll(async () => {
  folder = await makeFolder('serve');
  appliance = await serveAppliance({ dataDir: join(folder, 'data') });
  await claimAppliance(appliance);
}, 120_000);

afterAll(async () => {
  await appliance.stop();
  await removeFolder(folder);
});

describe('a running appliance', () => {
  it('refuses a second claim', async () => {
    const claimed = await appliance.call('POST', '/setup/claim', { code: appliance.claimCode, owner: OWNER });

    expect(claimed.status).toBe(409);
  });

  it('refuses a second server on its data folder, which goes on undisturbed', async () => {
    const second = await runHoldfast(['serve'], { dataDir: appliance.dataDir });

    expect(second.exitCode).toBe(11);
    expect(second.stderr).toMatch(/Another process runs Holdfast on this data folder/);
    expect((await appliance.call('GET', '/health/ready')).status).toBe(200);
  });

  it('speaks TLS 1.3 and nothing older', async () => {
    const { port } = new URL(appliance.url);

    await expect(handshake(Number(port), 'TLSv1.2')).rejects.toThrow();
    expect(await handshake(Number(port), 'TLSv1.3')).toBe('TLSv1.3');
  });

  it('describes its API and serves a reference that its own policy allows', async () => {
    const described = await appliance.call<{ openapi: string; paths: object }>('GET', '/api/openapi.json');
    const reference = await appliance.call<Buffer>('GET', '/api/docs/');

    expect(described.body.openapi).toBe('3.1.0');
    expect(Object.keys(described.body.paths).length).toBeGreaterThan(40);
    expect(reference.body.toString()).not.toMatch(/<script(?![^>]*\bsrc=)[^>]*>[^<]/);
    expect(String(reference.headers['content-security-policy'])).not.toContain("'unsafe-inline'");
  });

  it.each(['keyd', 'main', 'worker'])(
    'starts %s again when it is killed',
    async (name) => {
      const pid = await pidOf(appliance, name);

      process.kill(pid, 'SIGKILL');

      await waitFor(
        `another ${name}`,
        async () => (await findPid(appliance, name)) !== pid && (await isReady(appliance)),
        60_000,
      );
      expect((await appliance.call('GET', '/session')).status).toBe(200);
    },
    70_000,
  );

  it('finds PostgreSQL again when it is killed', async () => {
    const first = (await readFile(join(appliance.dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split(
      '\n',
    )[0];

    process.kill(Number(first), 'SIGKILL');

    await waitFor(
      'PostgreSQL to be back',
      async () => {
        const file = await readFile(join(appliance.dataDir, 'postgres', 'postmaster.pid'), 'utf8').catch(
          () => '',
        );
        return file !== '' && file.split('\n')[0] !== first && (await isReady(appliance));
      },
      60_000,
    );
    expect((await appliance.call('GET', '/session')).status).toBe(200);
  }, 70_000);

  it('lets an upload under way end before it stops, and keeps it', async () => {
    const rootFolderId = await rootFolder(appliance);
    const slow = startSlowUpload(appliance, `/api/v1/folders/${rootFolderId}/files?name=slow.bin`);
    await slow.started;

    const stopped = appliance.stop();
    await slow.finish();
    expect(await stopped).toBe(0);
    appliance = await serveAppliance({ dataDir: appliance.dataDir });
    await signIn(appliance);

    type Page = { items: { name: string; sizeBytes: number }[] };
    const { items } = await expectStatus(appliance.call<Page>('GET', `/folders/${rootFolderId}`), 200);
    expect(items).toMatchObject([{ name: 'slow.bin', sizeBytes: 200_000 }]);
  }, 90_000);

  it('comes back after it was killed whole, with nothing of it left running', async () => {
    const pids = await Promise.all(['keyd', 'main', 'worker'].map((name) => pidOf(appliance, name)));

    await appliance.stop('SIGKILL');
    await waitFor('its children to end', () => pids.every((pid) => !isAlive(pid)), 40_000);
    appliance = await serveAppliance({ dataDir: appliance.dataDir });
    await signIn(appliance);

    expect((await appliance.call('GET', '/session')).status).toBe(200);
  }, 120_000);
});

describe('holdfast serve refuses', () => {
  let place = '';

  afterEach(async () => {
    await removeFolder(place);
  });

  it('a data folder of a newer version, and leaves it as it is', async () => {
    place = await makeFolder('newer');
    const marker = JSON.stringify({
      format: 99,
      applianceId: '4fd2f1d0-6f0c-4a3a-8a55-2f4d0f2d8f10',
      createdWith: '9.0.0',
    });
    await writeFile(join(place, 'holdfast.json'), marker);

    const refused = await runHoldfast(['serve'], { dataDir: place });

    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toMatch(/newer version/);
    expect(await readFile(join(place, 'holdfast.json'), 'utf8')).toBe(marker);
    expect((await readdir(place)).filter((name) => name !== 'holdfast.json' && name !== 'lock')).toEqual([]);
  });

  it('a folder that holds something else', async () => {
    place = await makeFolder('foreign');
    await writeFile(join(place, 'thesis.txt'), 'mine');

    const refused = await runHoldfast(['serve'], { dataDir: place });

    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toMatch(/holds something that is not Holdfast data/);
    expect(await readFile(join(place, 'thesis.txt'), 'utf8')).toBe('mine');
  });

  it('a setting that it does not know', async () => {
    place = await makeFolder('setting');

    const refused = await runHoldfast(['serve'], {
      dataDir: join(place, 'data'),
      env: { HOLDFAST_PROT: '1' },
    });

    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toMatch(/Unknown setting HOLDFAST_PROT/);
    expect(await readdir(place)).toEqual([]);
  });

  it('a certificate that does not belong to the key', async () => {
    place = await makeFolder('tls');
    await mkdir(join(place, 'tls'));
    const { certificate } = await makeCertificate(join(place, 'tls', 'a'));
    const { key } = await makeCertificate(join(place, 'tls', 'b'));

    const refused = await runHoldfast(['serve'], {
      dataDir: join(place, 'data'),
      env: { HOLDFAST_TLS_CERT: certificate, HOLDFAST_TLS_KEY: key },
    });

    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr + refused.stdout).toMatch(/key does not belong to the TLS certificate/);
  }, 90_000);
});

async function handshake(port: number, version: 'TLSv1.2' | 'TLSv1.3'): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      { host: '127.0.0.1', port, rejectUnauthorized: false, minVersion: version, maxVersion: version },
      () => {
        resolve(socket.getProtocol());
        socket.end();
      },
    );
    socket.on('error', reject);
  });
}

async function isReady(one: ServedAppliance): Promise<boolean> {
  return one.call('GET', '/health/ready').then(
    (reply) => reply.status === 200,
    () => false,
  );
}

/** The child of the appliance that runs `server/<name>.ts`. */
async function findPid(one: ServedAppliance, name: string): Promise<number | undefined> {
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const command = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
    const environment = await readFile(`/proc/${entry}/environ`, 'utf8').catch(() => '');
    if (command.includes(`server/${name}.ts`) && environment.includes(`HOLDFAST_DATA=${one.dataDir}\0`))
      return Number(entry);
  }
  return undefined;
}

async function pidOf(one: ServedAppliance, name: string): Promise<number> {
  return waitFor(`process ${name}`, () => findPid(one, name));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function rootFolder(one: ServedAppliance): Promise<string> {
  type Workspaces = { items: { rootFolderId: string }[] };
  return (await expectStatus(one.call<Workspaces>('GET', '/workspaces'), 200)).items[0]?.rootFolderId ?? '';
}

/** An upload of 200,000 bytes whose second half is sent when asked for. */
function startSlowUpload(
  one: ServedAppliance,
  path: string,
): { started: Promise<void>; finish: () => Promise<void> } {
  const { port } = new URL(one.url);
  const socket = connect({ host: '127.0.0.1', port: Number(port), rejectUnauthorized: false });
  let answer = '';
  socket.setEncoding('utf8').on('data', (text: string) => (answer += text));
  const started = new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      const head = [
        `PUT ${path} HTTP/1.1`,
        `host: 127.0.0.1:${port}`,
        `origin: ${one.url}`,
        'sec-fetch-site: same-origin',
        'x-holdfast: 1',
        `cookie: ${one.cookie()}`,
        'content-type: application/octet-stream',
        'content-length: 200000',
      ];
      socket.write(`${head.join('\r\n')}\r\n\r\n`);
      socket.write(Buffer.alloc(100_000, 'a'), () => resolve());
    });
  });
  return {
    started,
    finish: async () => {
      socket.write(Buffer.alloc(100_000, 'b'));
      await waitFor('the answer to the upload', () => answer.includes('\r\n\r\n'), 20_000);
      if (!answer.startsWith('HTTP/1.1 201')) throw new Error(answer.slice(0, 500));
      socket.destroy();
    },
  };
}

async function makeCertificate(path: string): Promise<{ certificate: string; key: string }> {
  const { loadTlsIdentity } = await import('../../server/lib/tls.ts');
  const { systemClock } = await import('../../server/lib/clock.ts');
  const { loadConfig } = await import('../../server/lib/config.ts');
  await mkdir(join(path, 'tls'), { recursive: true });
  await loadTlsIdentity(loadConfig({ HOLDFAST_DATA: path }), systemClock);
  return { certificate: join(path, 'tls', 'certificate.pem'), key: join(path, 'tls', 'key.pem') };
}
