/**
 * hostd's verbs of SSH in a process of their own, for a test that puts it into namespaces: files of the system, network, all real. Only
 * systemd is played, by a shell that does what the unit says: the program, under the unit's limits, in a process namespace that ends
 * with it as a unit's processes do; then the lines of ExecStopPost. It outlives this process.
 */
import { spawn } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  buildHostApp,
  hostPlaces,
  openJournal,
  openSshDesk,
  sshRoutes,
} from '../../../server/appliance/host/index.ts';
import type { SshService } from '../../../server/appliance/host/ssh/service.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { createLog } from '../../../server/lib/log.ts';
import { tool } from '../../helpers/tools.ts';
import { waitFor } from '../../helpers/wait-for.ts';

const UNIT = join(import.meta.dirname, '..', '..', '..', 'systemd', 'units', 'holdfast-ssh.service');

const [top = '', sshd = '', seconds] = process.argv.slice(2);
const places = hostPlaces(top);
const log = createLog('silent', 'test');
const deps = { places, clock: systemClock, log, journal: openJournal(places.state, systemClock) };
const [pidFile, logFile] = [join(top, 'unit.pid'), join(top, 'sshd.log')];

const desk = openSshDesk(deps, { service: playSystemd() });
await desk.resume();
const app = await buildHostApp(deps, [sshRoutes(desk)]);
await app.listen({ path: join(places.run, 'host.sock') });
process.stdout.write('ready\n');

function playSystemd(): SshService {
  const text = readFileSync(UNIT, 'utf8');
  const all = (name: string) =>
    [...text.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value = '']) => value);
  const here = (line: string) =>
    line
      .replace('/usr/sbin/sshd', sshd)
      .replace('/usr/sbin/nft', tool('nft').path)
      .replaceAll('/run/holdfast/ssh', join(places.run, 'ssh'))
      .replace(/^[+-]+/, '');
  const capabilities = (all('CapabilityBoundingSet')[0] ?? '')
    .split(' ')
    .map((name) => `+${name.slice(4).toLowerCase()}`);
  const confined = `setpriv --no-new-privs --bounding-set=-all,${capabilities.join(',')}`;
  const script = `. ${join(places.run, 'ssh', 'window.env')}
    WINDOW_SECONDS=${seconds ?? '$WINDOW_SECONDS'}
    unshare --pid --fork --kill-child --mount-proc ${confined} ${here(all('ExecStart')[0] ?? '')}
    ${all('ExecStopPost').map(here).join('\n')}
    rm -f ${pidFile}`;
  const isRunning = async () => (await readFile(pidFile, 'utf8').catch(() => '')) !== '';
  return {
    isRunning,
    async start() {
      await rm(logFile, { force: true });
      const out = openSync(logFile, 'a');
      const unit = spawn('sh', ['-c', script], { detached: true, stdio: ['ignore', out, out] });
      unit.unref();
      await writeFile(pidFile, String(unit.pid));
      await waitFor('sshd to listen', async () => {
        const said = await readFile(logFile, 'utf8');
        if (!(await isRunning())) throw new Error(`sshd ended: ${said}`);
        return said.includes('Server listening on ::');
      });
    },
    async stop() {
      if (!(await isRunning())) return;
      // The program, not the shell that plays the unit and goes on with what comes after.
      const pid = await readFile(pidFile, 'utf8');
      const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
      for (const child of children.trim().split(' ')) process.kill(Number(child), 'SIGKILL');
      await waitFor('the unit to end', async () => !(await isRunning()));
    },
  };
}
