/** Updates of a machine that its TPM opens: one that comes through, and one that must not stay. */
import { createReadStream, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CheckedBundle, Update, UpdateOverview } from '../../server/appliance/host/updates/schema.ts';
import { expectStatus } from '../helpers/served-appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { makeRelease } from './release.ts';
import {
  BOOT_LIMIT_MS,
  LOOK_EVERY_MS,
  firstOf,
  secondsSince,
  signIn,
  signInAndFind,
  type Step,
  type Walk,
} from './walk.ts';

export const UPDATE_STEPS: readonly Step[] = [
  { name: 'update with rehearsal', act: update },
  { name: 'broken update goes back by itself', act: brokenUpdate },
];

const NEXT = '0.9.1';
const BROKEN = '0.9.2';

/** A migration of its own, so that there is something to rehearse. */
const MIGRATION = `import { sql } from 'kysely';
export const worksWith = '0008-add-quarantine';
export async function up(db) {
  await sql\`create table walked (id integer primary key)\`.execute(db);
}
`;

async function update(walk: Walk): Promise<Record<string, unknown>> {
  const { caller } = firstOf(walk);
  const bundle = await makeRelease({
    ...walk,
    version: NEXT,
    change: (application) => writeFileSync(join(application, 'server/migrations/0999-walk.ts'), MIGRATION),
  });
  const startedAt = performance.now();
  const { sha256, installable, reason } = await upload(walk, bundle);
  if (!installable) throw new Error(`The update is refused: ${reason}`);
  const secondsToUpload = secondsSince(startedAt);
  const requested = await expectStatus(
    caller.call<Update>('POST', '/host/updates/install', { sha256, restart: 'now' }),
    202,
  );
  const done = await endOfUpdate(walk, requested.id);
  if (done.update.state !== 'confirmed') throw new Error(`It ${done.update.state}: ${done.update.message}`);
  if (done.version !== NEXT) throw new Error(`${done.version} runs`);
  if (!done.update.rehearsal?.applied.includes('0999-walk'))
    throw new Error('The migration was not rehearsed');
  await signInAndFind(firstOf(walk));
  return { secondsToUpload, secondsInAll: secondsSince(startedAt), states: done.states };
}

async function brokenUpdate(walk: Walk): Promise<Record<string, unknown>> {
  const { caller } = firstOf(walk);
  const bundle = await makeRelease({
    ...walk,
    version: BROKEN,
    change: (application) => writeFileSync(join(application, 'server/main.ts'), 'process.exit(1);\n'),
  });
  const startedAt = performance.now();
  const { sha256 } = await upload(walk, bundle);
  const choice = { sha256, restart: 'now', skipReason: 'A walk through what may happen' };
  const requested = await expectStatus(caller.call<Update>('POST', '/host/updates/install', choice), 202);
  const done = await endOfUpdate(walk, requested.id);
  if (done.update.state !== 'fell-back') throw new Error(`It ${done.update.state}: ${done.update.message}`);
  if (done.version !== NEXT) throw new Error(`${done.version} runs`);
  await signInAndFind(firstOf(walk));
  return { secondsInAll: secondsSince(startedAt), said: done.update.message, states: done.states };
}

async function upload(walk: Walk, bundle: string): Promise<CheckedBundle> {
  const total = statSync(bundle).size;
  const path = `/host/updates/bundle?key=${'a1'.repeat(16)}&offset=0&total=${total}`;
  return expectStatus(firstOf(walk).caller.call<CheckedBundle>('PUT', path, createReadStream(bundle)), 200);
}

interface EndedUpdate {
  update: Update;
  version: string;
  /** Seconds since the beginning at which each state was first seen. */
  states: Record<string, number>;
}

/** Nobody answers while the machine restarts. */
async function endOfUpdate(walk: Walk, id: string): Promise<EndedUpdate> {
  const { caller } = firstOf(walk);
  const startedAt = performance.now();
  const states: Record<string, number> = {};
  return waitFor(
    'the update to end',
    async () => {
      const reply = await caller.call<UpdateOverview>('GET', '/host/updates').catch(() => undefined);
      if (reply?.status === 401) await signIn(caller);
      if (reply?.status !== 200) return undefined;
      const { current, history, version } = reply.body;
      const seen = current?.id === id ? current : history.find((one) => one.id === id);
      if (seen !== undefined) states[seen.state] ??= secondsSince(startedAt);
      return seen?.endedAt == null ? undefined : { update: seen, version, states };
    },
    2 * BOOT_LIMIT_MS,
    LOOK_EVERY_MS,
  );
}
