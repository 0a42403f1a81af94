/** The guard: knowing who asks and what they may do, over a handler that does nothing. A session is put into the table by hand. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fastify from 'fastify';
import { sql } from 'kysely';
import { installAccessGuard } from '../../../server/identity/index.ts';
import { SESSION_COOKIE } from '../../../server/identity/sessions/session-cookie.ts';
import {
  encodeSessionToken,
  hashHalf,
  makeSessionToken,
} from '../../../server/identity/sessions/session-token.ts';
import { findSession, insertSession } from '../../../server/identity/sessions/queries.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import type { Database } from '../../../server/lib/db.ts';
import { openLogPlace } from '../audit/log-place.ts';
import { median, summary } from './times.ts';

export async function measureGuard(rounds: number, say: (text: string) => void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-bench-guard-'));
  const place = await openLogPlace(folder);
  const app = fastify();
  try {
    const { db } = place;
    const { cookie, tokenHash } = await addSession(db);
    const unused = () => Promise.reject(new Error('no mail is written here'));
    installAccessGuard(app, {
      ...{ db, clock: systemClock, origins: [], isClaimed: () => Promise.resolve(true) },
      ...{ keys: { applianceKey: unused }, sealer: { seal: unused } },
    });
    app.get('/open', { config: { access: 'public' } }, () => 'done');
    app.get('/guarded', { config: { access: { right: 'account.own' } } }, () => 'done');
    await app.ready();
    const read = async (url: string) => {
      const { statusCode } = await app.inject({ url, headers: { cookie } });
      if (statusCode !== 200) throw new Error(`${url} answered ${statusCode}`);
    };
    const [open, guarded, lookUp, nothing] = await inTurn(rounds, [
      () => read('/open'),
      () => read('/guarded'),
      () => findSession(db, tokenHash),
      () => sql`select 1`.execute(db),
    ]);
    say(`open to all            ${summary(open ?? [])}`);
    say(`signed in              ${summary(guarded ?? [])}`);
    say(`the look-up alone      ${summary(lookUp ?? [])}`);
    say(`a query of nothing     ${summary(nothing ?? [])}`);
    say(`the guard adds         ${(median(guarded ?? []) - median(open ?? [])).toFixed(2)} ms (p50)`);
  } finally {
    await app.close();
    await place.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function addSession(db: Database): Promise<{ cookie: string; tokenHash: Buffer }> {
  const [now, userId, token] = [systemClock.now(), randomUUID(), makeSessionToken()];
  const later = new Date(now.getTime() + 3_600_000);
  const nobody = Buffer.alloc(1);
  await db
    .insertInto('users')
    .values({
      ...{ id: userId, role: 'owner', created_at: now, subject_key_id: randomUUID() },
      ...{ name_sealed: nobody, email_sealed: nobody },
    })
    .execute();
  await insertSession(db, {
    ...{
      id: randomUUID(),
      user_id: userId,
      address: '127.0.0.1',
      seen_address: '127.0.0.1',
      user_agent: null,
    },
    ...{ token_hash: hashHalf(token.selector), secret_hash: hashHalf(token.secret) },
    ...{ created_at: now, last_seen_at: now, renewed_at: now, authenticated_at: now },
    ...{ idle_expires_at: later, absolute_expires_at: later, methods: ['password', 'passkey'] },
  });
  return {
    cookie: `${SESSION_COOKIE}=${encodeSessionToken(token)}`,
    tokenHash: hashHalf(token.selector),
  };
}

/** Each after the other, so that what else the machine does falls on all alike. The first tenth warms up and is not counted. */
async function inTurn(rounds: number, acts: readonly (() => Promise<unknown>)[]): Promise<number[][]> {
  const times: number[][] = acts.map(() => []);
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, act] of acts.entries()) {
      const start = performance.now();
      await act();
      if (round >= rounds / 10) times[index]?.push(performance.now() - start);
    }
  }
  return times;
}
