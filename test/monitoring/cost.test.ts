/** What the minute's look costs where years of work lie in the tables: it runs all the time, beside people. */
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkForAlerts } from '../../server/appliance/index.ts';
import { recordCapacity } from '../../server/monitoring/index.ts';
import { startTestAppliance, type TestAppliance } from '../helpers/appliance.ts';

/** Far above what it takes, so that a slow machine passes and a forgotten index does not. */
const MOST_CPU_MS = 150;

let appliance: TestAppliance;
beforeAll(async () => {
  appliance = await startTestAppliance();
  await appliance.claim();
  const { db } = appliance.deps;
  await sql`
    insert into runs (id, kind, state, cause, created_at, started_at, finished_at)
    select gen_random_uuid(), (array['snapshot', 'verify', 'prune', 'audit-anchor', 'audit-verify'])[1 + n % 5],
      case when n % 50 = 0 then 'failed' else 'succeeded' end, 'schedule', at, at, at
    from generate_series(1, 20000) n, lateral (select now() - make_interval(mins => n * 30) as at) t`.execute(
    db,
  );
  await sql`
    insert into snapshots (id, number, repository_id, state, keyring_epoch, taken_at, stored_at, judged_at, file_count,
      size_bytes, added_bytes, stored_bytes, duration_ms, problems, sources)
    select md5(n::text), n, 'r', 'stored', '1', now() - make_interval(hours => 5000 - n), now() - make_interval(hours => 5000 - n),
      now(), 10, 10, 1, 1, 1, '[]', '[{"name": "files", "fileCount": 10, "sizeBytes": 10}]'
    from generate_series(1, 5000) n`.execute(db);
  await sql`
    insert into capacity_points (thing, at, used_bytes, free_bytes)
    select 'data-disk', now() - make_interval(hours => n), 1000000 - n, 5 from generate_series(1, 9600) n`.execute(
    db,
  );
  await sql`
    insert into alerts (id, name, state, message, first_seen_at, raised_at, ended_at)
    select gen_random_uuid(), 'a' || n, 'bad', 'm', now(), now(), now() from generate_series(1, 5000) n`.execute(
    db,
  );
  await sql`
    insert into webhooks (id, name, url_sealed, url_shown, secret_sealed, events, least, created_at, changed_at)
    select gen_random_uuid(), 'hook ' || n, '\\x00', 'https://a.example/…', '\\x00', '[]', 'bad', now(), now()
    from generate_series(1, 5) n`.execute(db);
  await sql`
    insert into webhook_deliveries (id, webhook_id, event, title, body, state, created_at, expires_at, ended_at)
    select gen_random_uuid(), w.id, 'alert.raised', 't', '{}', 'delivered', now(), now(), now() - make_interval(mins => n)
    from webhooks w, generate_series(1, 4000) n`.execute(db);
  await sql`analyze`.execute(db);
}, 120_000);
afterAll(() => appliance.close());

test('a look over years of work costs little', async () => {
  await checkForAlerts(appliance.deps);
  await recordCapacity(appliance.deps);
  const before = process.cpuUsage();
  const startMs = performance.now();
  const LOOKS = 10;
  for (let look = 0; look < LOOKS; look += 1) {
    await checkForAlerts(appliance.deps);
    await recordCapacity(appliance.deps);
  }
  const { user, system } = process.cpuUsage(before);
  const cpuMs = (user + system) / 1000 / LOOKS;
  const wallMs = (performance.now() - startMs) / LOOKS;
  process.stdout.write(`a look: ${cpuMs.toFixed(1)} ms of CPU here, ${wallMs.toFixed(1)} ms in all\n`);
  expect(cpuMs).toBeLessThan(MOST_CPU_MS);
});
