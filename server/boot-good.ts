/**
 * The process `holdfast-boot-good`: once in every boot, judges the slot that was started (`appliance/host/updates/boot.ts`). It
 * waits for health, not for people: while the volume waits to be unlocked, no time counts.
 */
import { request as httpRequest } from 'node:http';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import {
  createRauc,
  hostPlaces,
  openJournal,
  openUpdateRecords,
  RAUC_KEYRING,
  readImageFacts,
  settleBoot,
  systemdPower,
} from './appliance/host/index.ts';
import { systemClock } from './lib/clock.ts';
import { loadConfig } from './lib/config.ts';
import { dataPaths } from './lib/data-folder.ts';
import { createLog } from './lib/log.ts';
import { shortPath } from './lib/sockets.ts';
import { runProcess } from './lib/spawn.ts';

/** From the unlocking until the appliance must be well: recovery of the database after a power cut counts in. */
const HEALTH_MS = 15 * 60_000;
const LOOK_EVERY_MS = 5_000;
/** So many good answers in a row; one can come from a process that is about to die. */
const ANSWERS = 3;
const SERVICES = ['holdfast-keyd.service', 'holdfast-server.service', 'holdfast-worker.service'];
/** A service that waits for another one is started again too: not this often, with the pauses that grow between. */
const MOST_RESTARTS = 5;

const config = loadConfig();
const log = createLog(config.logLevel, 'boot-good');
const places = hostPlaces();
const boot = await settleBoot({
  rauc: createRauc({ keyring: RAUC_KEYRING }),
  records: openUpdateRecords(places.state),
  journal: openJournal(places.state, systemClock),
  clock: systemClock,
  bootId: (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim(),
  version: (await readImageFacts(places)).version,
  waitForHealth,
  reboot: () => systemdPower('restart'),
});
log.info({ ...boot }, 'The slot was judged');

type Health = { healthy: true } | { healthy: false; reason: string };

async function waitForHealth({ trial }: { trial: boolean }): Promise<Health> {
  const unlock = await waitForUnlock();
  if (unlock !== 'active')
    return { healthy: false, reason: 'its volume could not be unlocked by the new version' };
  const deadline = systemClock.monotonicMs() + HEALTH_MS;
  let answers = 0;
  let reason = 'the appliance did not answer';
  while (systemClock.monotonicMs() < deadline) {
    const ending = trial ? await findEndingService() : undefined;
    if (ending !== undefined) return { healthy: false, reason: `${ending} ended again and again` };
    const found = await lookOnce();
    answers = found === undefined ? answers + 1 : 0;
    reason = found ?? reason;
    if (answers >= ANSWERS) return { healthy: true };
    await delay(LOOK_EVERY_MS);
  }
  return { healthy: false, reason };
}

/** @returns when the unlocking has ended, well or not. */
async function waitForUnlock(): Promise<string> {
  for (;;) {
    const [state = ''] = await propertyOf(['holdfast-unlock.service'], 'ActiveState');
    if (state === 'active' || state === 'failed') return state;
    await delay(LOOK_EVERY_MS);
  }
}

/** The property of each unit, in order. */
async function propertyOf(units: readonly string[], name: string): Promise<string[]> {
  const args = ['show', `--property=${name}`, '--value', ...units];
  const { stdout } = await runProcess('systemctl', args, { timeoutMs: 20_000 });
  // An empty line stands between units.
  return stdout.trim().split(/\n+/);
}

/** The one that systemd started again that often. */
async function findEndingService(): Promise<string | undefined> {
  const restarts = await propertyOf(SERVICES, 'NRestarts');
  return SERVICES.find((_unit, index) => Number(restarts[index]) >= MOST_RESTARTS);
}

/** @returns undefined when all is well, else what is not. */
async function lookOnce(): Promise<string | undefined> {
  const states = await propertyOf(SERVICES, 'ActiveState');
  const ended = SERVICES.find((_unit, index) => states[index] !== 'active');
  if (ended !== undefined) return `${ended} did not run`;
  const status = await askReady().catch(() => 0);
  return status === 200 ? undefined : 'the server did not answer, or its database or keyring did not';
}

function askReady(): Promise<number> {
  const { controlSocket } = dataPaths(config.dataDir);
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { socketPath: shortPath(controlSocket), path: '/health/ready', headers: { host: 'console' } },
      (reply) => {
        reply.resume();
        resolve(reply.statusCode ?? 0);
      },
    );
    request.setTimeout(10_000, () => request.destroy(new Error('no answer')));
    request.on('error', reject);
    request.end();
  });
}
