/** Entries of seven years by one statement: as many kinds, people, objects and addresses as a busy organisation has. */
import type { LogPlace } from './log-place.ts';

const PEOPLE = 500;
const OBJECTS = 2_000_000;
const ADDRESSES = 4_000;

/** Shares of a thousand; the last one takes the rest. */
const ACTIONS: readonly [action: string, objectType: string, share: number][] = [
  ['workspaces.files.uploaded', 'folder', 250],
  ['workspaces.contents.removed', 'folder', 80],
  ['identity.session.started', 'session', 150],
  ['identity.session.ended', 'session', 120],
  ['identity.sign-in.refused', 'session', 12],
  ['workspaces.folder.created', 'folder', 60],
  ['workspaces.folder.exported', 'folder', 40],
  ['backups.snapshot.stored', 'snapshot', 20],
  ['backups.snapshot.failed', 'snapshot', 1],
  ['backups.repository.verified', 'target', 4],
  ['identity.password.changed', 'user', 2],
  ['appliance.settings.changed', 'appliance', 1],
  ['audit.log.exported', 'log', 1],
  ['workspaces.file.uploaded', 'file', 0],
];

/** In SQL: the id of the thing of that number. */
export function idOf(kind: 'person' | 'object' | 'session', number: string): string {
  return `md5('${kind}' || (${number}))::uuid`;
}

function byShare(column: 0 | 1): string {
  let upTo = 0;
  const cases = ACTIONS.slice(0, -1).map((action) => {
    upTo += action[2];
    return `when kind < ${upTo} then '${action[column]}'`;
  });
  return `case ${cases.join(' ')} else '${ACTIONS.at(-1)?.[column] ?? ''}' end`;
}

/** Does nothing where there are that many already. Indexes are made anew behind the rows, as they are after a restore. */
export async function fillEntries(
  place: LogPlace,
  count: number,
  say: (text: string) => void,
): Promise<void> {
  const [held] = await place.asSuperuser('select count(*)::int as held from audit_entries');
  if (Number(held?.held) >= count) return;
  const startedAt = performance.now();
  const indexes = await place.asSuperuser(
    `select indexname, indexdef from pg_indexes where tablename = 'audit_entries' and indexname like 'audit_entries_by%'`,
  );
  for (const { indexname } of indexes) await place.asSuperuser(`drop index ${String(indexname)}`);
  await place.asSuperuser(`
    insert into audit_entries (id, at, actor_kind, actor_id, actor_label, session_id, action, object_type, object_id, result,
      address, request_id, detail, salt)
    select gen_random_uuid(), timestamptz '2019-11-01' + g * (interval '7 years' / ${count}),
      case when who = 0 then 'console' when who < 100 then 'system' else 'user' end,
      case when who >= 100 then ${idOf('person', `g * 7919 % ${PEOPLE}`)} end,
      case when who = 0 then 'root' when who < 100 then (array['snapshot', 'restore test', 'audit', 'schedule'])[1 + g % 4] end,
      case when who >= 100 then ${idOf('session', 'g / 40')} end,
      ${byShare(0)}, ${byShare(1)}, ${idOf('object', `g * 104729 % ${OBJECTS}`)}::text,
      case when kind between 400 and 602 and kind % 20 = 1 then 'refused' when g % 997 = 0 then 'failed' else 'done' end,
      case when who >= 100 then ('10.' || g * 31 % ${ADDRESSES} / 250 || '.7.' || g * 31 % ${ADDRESSES} % 250)::inet end,
      'req-' || g, jsonb_build_object('files', g % 40, 'sizeBytes', g % 100003), decode(md5(g::text), 'hex')
    from (select g::bigint, abs(hashint8(g)::bigint) % 1000 as kind, abs(hashint8(g + 11)::bigint) % 1000 as who
          from generate_series(1, ${count}) g) as numbers`);
  for (const { indexdef } of indexes) await place.asSuperuser(String(indexdef));
  await place.asSuperuser('vacuum analyze audit_entries');
  const [size] = await place.asSuperuser(
    `select pg_size_pretty(pg_relation_size('audit_entries')) as rows, pg_size_pretty(pg_indexes_size('audit_entries')) as indexes`,
  );
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  say(`${count} entries in ${seconds} s: rows ${String(size?.rows)}, indexes ${String(size?.indexes)}`);
}
