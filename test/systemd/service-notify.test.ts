import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { waitFor } from '../helpers/wait-for.ts';
import { requireTools } from '../helpers/tools.ts';

const RECEIVER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('listening', flush=True)
while True:
    data, ancillary, flags, sender = s.recvmsg(4096, 65536)
    for level, kind, fds in ancillary:
        import os, array
        if kind == socket.SCM_RIGHTS:
            got = array.array('i'); got.frombytes(fds[: len(fds) - len(fds) % got.itemsize])
            for fd in got: os.close(fd)
    print(data.decode().replace('\\n', ' '), flush=True)
`;
const module = join(import.meta.dirname, '..', '..', 'server', 'lib', 'service-notify.ts');
const SERVICE = `
import { connectServiceManager } from ${JSON.stringify(module)};
const service = connectServiceManager({ warn: (fields, words) => console.log(words, JSON.stringify(fields)) });
process.once('SIGTERM', async () => { await service.stopping(); process.exit(0); });
await service.ready('Serving tests');
setInterval(() => undefined, 1000);
console.log('ready');`;
beforeAll(() => requireTools('python3', 'systemd-notify'));

describe('a service under systemd', () => {
  let folder = '';
  let receiver: ChildProcess;
  let heard = '';

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-test-notify-'));
    heard = '';
    receiver = spawn('python3', ['-c', RECEIVER, join(folder, 'notify')]);
    receiver.stdout?.setEncoding('utf8').on('data', (text: string) => (heard += text));
    await waitFor('the receiver', () => heard.includes('listening'));
  });
  afterEach(async () => {
    receiver.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  });

  it('says that it is ready, that it lives, and that it stops', async () => {
    const service = start({ NOTIFY_SOCKET: join(folder, 'notify'), WATCHDOG_USEC: '600000' });
    await waitFor('three signs of life', () => heard.split('WATCHDOG=1').length > 3);
    expect(heard).toContain('READY=1 STATUS=Serving tests');

    service.kill('SIGTERM');

    await waitFor('its stop', () => heard.includes('STOPPING=1'));
  }, 30_000);

  it('without a watchdog says no more than that it is ready', async () => {
    const service = start({ NOTIFY_SOCKET: join(folder, 'notify') });
    await waitFor('READY', () => heard.includes('READY=1'));
    service.kill('SIGTERM');
    await waitFor('its stop', () => heard.includes('STOPPING=1'));

    expect(heard).not.toContain('WATCHDOG');
  }, 30_000);

  it('goes on where nobody listens, and where the listener is gone', async () => {
    for (const env of [{}, { NOTIFY_SOCKET: join(folder, 'nobody') }]) {
      let said = '';
      const service = start(env);
      service.stdout?.setEncoding('utf8').on('data', (text: string) => (said += text));

      await waitFor('the service', () => said.includes('ready'));
      service.kill('SIGKILL');

      expect(said.includes('could not be told')).toBe('NOTIFY_SOCKET' in env);
    }
  }, 30_000);

  function start(env: Record<string, string>): ChildProcess {
    return spawn(process.execPath, ['--input-type=module', '-e', SERVICE], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { PATH: process.env.PATH ?? '', ...env },
    });
  }
});
