/**
 * The end of a review, and what leaves it for an auditor. The record in the export holds ids, facts, decisions and the ids of audit entries;
 * its SHA-256 over RFC 8785 JSON stands in the audit log. Names and notes are beside it, so that erasing a person later breaks nothing.
 */
import { createHash } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import { canonicalJson } from '../../lib/canonical-json.ts';
import { toCsv } from '../../lib/csv.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Person } from '../access.ts';
import type { ReviewDeps } from './collect-access.ts';
import { findViewer, noSuchReview, noteContext, openReview, readNames } from './describe-items.ts';
import { listItemRows, lockReview, updateReview, type ItemRow, type ReviewRow } from './queries.ts';
import { openStatement } from './reviews.ts';
import type { Facts } from './schema.ts';

const FORMAT = 'holdfast-access-review-1';

/** @throws HoldfastError `not_found`; `wrong_state` while something is undecided, and when it is signed already. */
export async function signReview(
  deps: ReviewDeps,
  person: Person,
  id: string,
  statement: string,
  actor: Actor,
): Promise<void> {
  const words = statement.trim();
  if (words === '') throw new HoldfastError('invalid_input', 'Say what you confirm');
  const { id: keyId } = await deps.keys.applianceKey();
  const [sealed] = await deps.sealer.seal([
    { keyId, purpose: 'secrets', context: noteContext(id), value: words },
  ]);
  await writeTransaction(deps.db, async (tx) => {
    const review = await lockReview(tx, id);
    if (review === undefined) throw noSuchReview();
    if (review.state !== 'open') throw new HoldfastError('wrong_state', 'This review is over already');
    const items = await listItemRows(tx, id);
    const left = items.filter((item) => item.decision === null).length;
    if (left > 0)
      throw new HoldfastError(
        'wrong_state',
        left === 1 ? '1 item is undecided' : `${left} items are undecided`,
        {
          hint: 'Decide about each, then sign.',
        },
      );
    const end = { state: 'signed', signed_by: person.userId, signed_at: deps.clock.now() };
    const sha256 = digest(recordOf({ ...review, ...end }, items));
    await updateReview(tx, id, { ...end, sha256, statement_sealed: sealed ?? null });
    const count = (decision: string) => items.filter((item) => item.decision === decision).length;
    await recordAudit(tx, deps.clock, actor, {
      ...{ action: 'identity.access-review.signed', objectType: 'access-review', objectId: id },
      detail: {
        ...{ number: review.number, items: items.length, sha256 },
        ...{ kept: count('keep'), changed: count('change'), removed: count('remove') },
      },
    });
  });
}

/** For whoever sees all of it. @throws HoldfastError `not_found` */
export async function exportReview(
  deps: ReviewDeps,
  person: Pick<Person, 'userId' | 'role'>,
  id: string,
  format: 'json' | 'csv',
  actor: Actor,
): Promise<{ name: string; text: string }> {
  const { review, rows } = await openReview(deps, await findViewer(deps, person), id);
  const names = await readNames(deps, rows, rows);
  const words = {
    people: Object.fromEntries([...names.people].map(([key, { name, email }]) => [key, { name, email }])),
    deciders: Object.fromEntries([...names.deciders].map(([key, { name }]) => [key, name])),
    teams: Object.fromEntries(names.teams),
    workspaces: Object.fromEntries(names.workspaces),
    notes: Object.fromEntries(names.notes),
    statement: await openStatement(deps, review),
  };
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, actor, {
      ...{ action: 'identity.access-review.exported', objectType: 'access-review', objectId: id },
      detail: { format },
    }),
  );
  const name = `access-review-${review.number}.${format}`;
  if (format === 'csv') return { name, text: toCsv([COLUMNS, ...rows.map((row) => toLine(row, words))]) };
  const record = recordOf(review, rows);
  const document = { format: FORMAT, sha256: review.sha256, record, words };
  return { name, text: `${JSON.stringify(document, null, 2)}\n` };
}

function digest(record: unknown): string {
  return createHash('sha256').update(canonicalJson(record)).digest('hex');
}

function recordOf(review: ReviewRow, items: readonly ItemRow[]) {
  return {
    review: {
      ...{ id: review.id, number: review.number, state: review.state, cause: review.cause },
      ...{ startedBy: review.started_by, startedAt: review.started_at.toISOString() },
      dueAt: review.due_at.toISOString(),
      ...{ signedBy: review.signed_by, signedAt: review.signed_at?.toISOString() ?? null },
      // A signed record keeps the form in which it was signed.
      ...(review.withdrawn_at === null
        ? {}
        : { withdrawnBy: review.withdrawn_by, withdrawnAt: review.withdrawn_at.toISOString() }),
    },
    items: items.map((item) => ({
      ...{ id: item.id, thing: item.thing, kind: item.kind, userId: item.user_id, teamId: item.team_id },
      ...{ workspaceId: item.workspace_id, keyId: item.key_id, facts: item.facts as Facts },
      ...{ decision: item.decision, decidedBy: item.decided_by },
      decidedAt: item.decided_at?.toISOString() ?? null,
      ...{ outcome: item.outcome, inBulk: item.in_bulk, auditEntries: item.audit_ids },
    })),
  };
}

const COLUMNS = [
  ...['item', 'kind', 'person', 'e-mail', 'person id', 'team', 'workspace', 'role or level', 'state'],
  ...['second factors', 'last here', 'key', 'rights', 'last used', 'decision', 'decided by', 'decided at'],
  ...['outcome', 'note', 'in bulk', 'audit entries'],
];

interface Words {
  people: Record<string, { name: string; email: string }>;
  deciders: Record<string, string>;
  teams: Record<string, string>;
  workspaces: Record<string, string>;
  notes: Record<string, string>;
}

function toLine(row: ItemRow, words: Words): string[] {
  const facts = row.facts as Facts;
  const person = words.people[row.user_id ?? ''];
  return [
    ...[row.id, row.kind, person?.name ?? '', person?.email ?? '', row.user_id ?? ''],
    ...[words.teams[row.team_id ?? ''] ?? '', words.workspaces[row.workspace_id ?? ''] ?? ''],
    ...[
      facts.role ?? facts.level ?? '',
      facts.state ?? '',
      (facts.factors ?? []).join(' '),
      facts.lastSeenAt ?? '',
    ],
    ...[
      facts.prefix === undefined ? '' : `${facts.name ?? ''} (${facts.prefix})`,
      (facts.rights ?? []).join(' '),
    ],
    ...[facts.lastUsedAt ?? '', row.decision ?? '', words.deciders[row.decided_by ?? ''] ?? ''],
    ...[row.decided_at?.toISOString() ?? '', row.outcome ?? '', words.notes[row.id] ?? ''],
    ...[row.in_bulk ? 'yes' : 'no', row.audit_ids.join(' ')],
  ];
}
