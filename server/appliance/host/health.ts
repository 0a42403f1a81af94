/** Whether the appliance on this machine is well, as systemd and the server itself say. Waits for health, never for people. */
import { request as httpRequest } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../../lib/clock.ts';
import { dataPaths } from '../../lib/data-folder.ts';
import { shortPath } from '../../lib/sockets.ts';
import { runProcess } from '../../lib/spawn.ts';

const LOOK_EVERY_MS = 5_000;
/** So many good answers in a row; one can come from a process that is about to die. */
const ANSWERS = 3;
const SERVICES = ['holdfast-keyd.service', 'holdfast-server.service', 'holdfast-worker.service'];
/** What these need: none of them may keep ending. */
const NEEDED = [...SERVICES, 'holdfast-migrate.service', 'holdfast-postgres.service'];
/** A service that waits for another one is started again too: not this often. */
const MOST_RESTARTS = 5;

export type Health = { healthy: true } | { healthy: false; reason: string };

/**
 * @param wait.mostMs from now on; recovery of the database after a power cut counts in.
 * @param wait.giveUpEarly a service that keeps ending is reason enough.
 */
export async function waitForHealth(
  { dataDir, clock }: { dataDir: string; clock: Clock },
  wait: { mostMs: number; giveUpEarly: boolean },
): Promise<Health> {
  const deadline = clock.monotonicMs() + wait.mostMs;
  let answers = 0;
  let reason = 'the appliance did not answer';
  while (clock.monotonicMs() < deadline) {
    const ending = wait.giveUpEarly ? await findEndingService() : undefined;
    if (ending !== undefined) return { healthy: false, reason: `${ending} ended again and again` };
    const found = await lookOnce(dataDir);
    answers = found === undefined ? answers + 1 : 0;
    reason = found ?? reason;
    if (answers >= ANSWERS) return { healthy: true };
    await delay(LOOK_EVERY_MS);
  }
  return { healthy: false, reason };
}

/** @returns how the unlocking has ended, well or not: `active` or `failed`. */
export async function waitForUnlock(): Promise<string> {
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

/** The one that systemd started again that often; the pauses between grow, so that it is some minutes. */
async function findEndingService(): Promise<string | undefined> {
  const restarts = await propertyOf(NEEDED, 'NRestarts');
  return NEEDED.find((_unit, index) => Number(restarts[index]) >= MOST_RESTARTS);
}

/** @returns undefined when all is well, else what is not. */
async function lookOnce(dataDir: string): Promise<string | undefined> {
  const states = await propertyOf(SERVICES, 'ActiveState');
  const ended = SERVICES.find((_unit, index) => states[index] !== 'active');
  if (ended !== undefined) return `${ended} did not run`;
  const status = await askReady(dataDir).catch(() => 0);
  return status === 200 ? undefined : 'the server did not answer, or its database or keyring did not';
}

function askReady(dataDir: string): Promise<number> {
  const { controlSocket } = dataPaths(dataDir);
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
