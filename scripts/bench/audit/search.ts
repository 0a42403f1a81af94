/** The filters of the page Audit, as its route asks them, 100 entries a page. */
import { listAudit } from '../../../server/audit/index.ts';
import type { AuditQuery } from '../../../server/audit/schema.ts';
import { idOf } from './fill.ts';
import type { LogPlace } from './log-place.ts';

const ROUNDS = 25;
const AIM_MS = 300;
const PAGE = 100;

interface Probe {
  name: string;
  /** @param round from 0; each asks for something else where it can. */
  query(round: number): AuditQuery;
}

export async function measureSearch(place: LogPlace, say: (text: string) => void): Promise<void> {
  const probes = await makeProbes(place);
  say('| filter | first ms | median ms | slowest ms | entries |\n|---|---|---|---|---|');
  let slowest = 0;
  for (const { name, query } of probes) {
    const times: number[] = [];
    let found = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const startedAt = performance.now();
      const { items } = await listAudit(place, { ...query(round), limit: PAGE });
      times.push(performance.now() - startedAt);
      found += items.length;
    }
    const [first = 0] = times;
    times.sort((a, b) => a - b);
    const median = times[Math.floor(ROUNDS / 2)] ?? 0;
    const most = times.at(-1) ?? 0;
    slowest = Math.max(slowest, most);
    say(
      `| ${name} | ${first.toFixed(1)} | ${median.toFixed(1)} | ${most.toFixed(1)} | ${Math.round(found / ROUNDS)} |`,
    );
  }
  say(`slowest of all ${slowest.toFixed(1)} ms, aim ${AIM_MS} ms: ${slowest <= AIM_MS ? 'met' : 'MISSED'}`);
}

async function makeProbes(place: LogPlace): Promise<Probe[]> {
  const people = await idsOf(place, 'person');
  const objects = await idsOf(place, 'object');
  const at = (list: readonly string[], round: number): string => list[round % list.length] ?? '';
  const day = (round: number): string => new Date(Date.UTC(2020, round * 3, 1 + round)).toISOString();
  const month = (round: number): string => new Date(Date.UTC(2020, round * 3 + 1, 1 + round)).toISOString();
  const address = (round: number): string => `10.${round % 16}.7.${round * 9}`;
  const deep = await deepCursor(place);
  return [
    { name: 'none, newest page', query: () => ({}) },
    { name: 'none, page in the middle', query: () => ({ cursor: deep }) },
    { name: 'person', query: (n) => ({ actorId: at(people, n) }) },
    { name: 'person, in one month', query: (n) => ({ actorId: at(people, n), from: day(n), to: month(n) }) },
    { name: 'person, refused', query: (n) => ({ actorId: at(people, n), result: 'refused' }) },
    {
      name: 'person, one rare action',
      query: (n) => ({ actorId: at(people, n), action: 'audit.log.exported' }),
    },
    { name: 'the console', query: () => ({ actorKind: 'console' }) },
    { name: 'a part of the appliance', query: () => ({ actorLabel: 'restore test' }) },
    { name: 'one frequent action', query: () => ({ action: 'workspaces.files.uploaded' }) },
    { name: 'one rare action', query: () => ({ action: 'appliance.settings.changed' }) },
    { name: 'part of a name (`snapshot`)', query: () => ({ action: 'snapshot' }) },
    {
      name: 'a whole module (`identity.`), one month',
      query: (n) => ({ action: 'identity.', from: day(n), to: month(n) }),
    },
    { name: 'one month', query: (n) => ({ from: day(n), to: month(n) }) },
    { name: 'object', query: (n) => ({ objectId: at(objects, n) }) },
    { name: 'type of object', query: () => ({ objectType: 'user' }) },
    { name: 'type of object, refused', query: () => ({ objectType: 'session', result: 'refused' }) },
    { name: 'refused', query: () => ({ result: 'refused' }) },
    { name: 'failed, in one month', query: (n) => ({ result: 'failed', from: day(n), to: month(n) }) },
    { name: 'address', query: (n) => ({ address: address(n) }) },
    {
      name: 'address, one action',
      query: (n) => ({ address: address(n), action: 'identity.session.started' }),
    },
    { name: 'address that never came', query: () => ({ address: '203.0.113.9' }) },
    {
      name: 'person and object that never met',
      query: (n) => ({ actorId: at(people, n), objectId: at(objects, n + 1) }),
    },
  ];
}

async function idsOf(place: LogPlace, kind: 'person' | 'object'): Promise<string[]> {
  const rows = await place.asSuperuser(
    `select ${idOf(kind, 'g')} as id from generate_series(1, ${ROUNDS + 1}) g`,
  );
  return rows.map(({ id }) => String(id));
}

/** The mark of a page in the middle of the log, as that page gives it out. */
async function deepCursor(place: LogPlace): Promise<string> {
  const [middle] = await place.asSuperuser(
    'select at from audit_entries where number = (select max(number) / 2 from audit_entries)',
  );
  const { nextCursor } = await listAudit(place, { to: (middle?.at as Date).toISOString(), limit: 1 });
  return nextCursor ?? '';
}
