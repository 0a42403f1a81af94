/**
 * Brings the register in step with the keyring, which is the truth about what opens the backups: what a crash between the two, an older
 * version or a recovered database left out is added, with the dates that the keyring knows. Events are only ever added.
 */
import { recordAudit, systemActor, type Actor } from '../../audit/index.ts';
import type { KeyClient, RepositoryStatus } from '../../keys/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../../lib/db.ts';
import type { JsonObject } from '../../lib/tables.ts';
import { lockAppliance } from '../queries.ts';
import { registerOn, type IdentitySpan, type KeyEvent } from './fold.ts';
import { insertKeyEvents, listKeyEvents } from './queries.ts';

export interface SettleDeps {
  db: Database;
  clock: Clock;
  keys: Pick<KeyClient, 'status'>;
}

/** At every start and once an hour. */
export async function settleKeyRegister(deps: SettleDeps): Promise<void> {
  await writeTransaction(deps.db, (tx) => settleIn(tx, deps));
}

/**
 * In the transaction of an act, after the keyring has changed. A generation that the register did not know goes into the audit log with it,
 * and so does that write-only mode was turned on or off.
 *
 * @param act who re-keyed or turned it, and why; of what is found afterwards nobody knows that any more.
 */
export async function settleIn(
  tx: WriteTransaction,
  deps: Omit<SettleDeps, 'db'>,
  act?: { actor: Actor; reason: string },
): Promise<void> {
  // One at a time: two would both find the same missing.
  await lockAppliance(tx);
  const { repository } = await deps.keys.status();
  const now = deps.clock.now();
  const known = await listKeyEvents(tx);
  const missing = missingEvents(known, repository, now);
  await insertKeyEvents(tx, missing, now);
  for (const event of missing) {
    const entry = entryOf(event, known, repository);
    if (entry === undefined) continue;
    await recordAudit(tx, deps.clock, act?.actor ?? systemActor('key register'), {
      ...{ action: entry.action, objectType: 'repository', objectId: null },
      detail: {
        ...entry.detail,
        ...(act === undefined ? { foundAfterwards: true } : { reason: act.reason }),
      },
    });
  }
}

/** The first generation, and the identity that came with it, begin with the claim, which has an entry of its own. */
function entryOf(
  { kind, at, generations }: KeyEvent,
  known: readonly KeyEvent[],
  repository: RepositoryStatus,
): { action: string; detail: JsonObject } | undefined {
  const after = generations?.at(-1);
  if (kind === 'identity-off') {
    return {
      action: 'appliance.repository.write-only-on',
      detail: { destroyedAt: at.toISOString(), generation: repository.generation },
    };
  }
  if (after === undefined) return undefined;
  if (kind === 'generation' && after > 1) {
    const kits = repository.kits.map((kit) => kit.id);
    return { action: 'appliance.repository.rekeyed', detail: { before: after - 1, after, kits } };
  }
  if (kind !== 'identity-on' || (after === 1 && !known.some((one) => one.kind === 'identity-off')))
    return undefined;
  return { action: 'appliance.repository.write-only-off', detail: { opens: [...(generations ?? [])] } };
}

/** Pure. In an order in which they may have happened. */
export function missingEvents(
  known: readonly KeyEvent[],
  repository: RepositoryStatus,
  now: Date,
): KeyEvent[] {
  if (!repository.claimed) return [];
  // The clock of the day, or whatever was said later by a clock that was ahead.
  const last = known.reduce((latest, event) => (event.at > latest ? event.at : latest), now);
  const state = registerOn(known, last);
  const present = new Map(state.kits.map((kit) => [kit.id, kit]));
  const missing: KeyEvent[] = [];
  const fresh = repository.generations.filter(
    ({ generation }) => !state.generations.some((one) => one.generation === generation),
  );
  for (const kit of repository.kits) {
    const before = present.get(kit.id);
    if (before?.state === 'proven') continue;
    // One that was retired and counts again comes from a keyring that was recovered.
    const at = before?.state === 'retired' ? now : new Date(kit.addedAt);
    const generations = repository.generations.filter(
      (one) => new Date(one.createdAt) <= at && kit.lacks?.includes(one.generation) !== true,
    );
    missing.push({ kind: 'added', at, kitId: kit.id, generations: generations.map((one) => one.generation) });
  }
  for (const kit of repository.retiredKits) {
    const before = present.get(kit.id);
    if (before === undefined || before.state === 'retired') continue;
    // By a clock that went back it may have been retired before it was added.
    const at = known
      .filter((event) => event.kitId === kit.id)
      .reduce((latest, event) => (event.at > latest ? event.at : latest), new Date(kit.retiredAt));
    missing.push({ kind: 'retired', at, kitId: kit.id, generations: null });
  }
  const gone = state.kits.filter(
    (kit) =>
      kit.state === 'proven' &&
      ![...repository.kits, ...repository.retiredKits].some((one) => one.id === kit.id),
  );
  for (const kit of gone) missing.push({ kind: 'retired', at: now, kitId: kit.id, generations: null });
  for (const { generation, createdAt } of fresh) {
    missing.push({ kind: 'generation', at: new Date(createdAt), kitId: null, generations: [generation] });
  }
  missing.push(...missingOfIdentity(state.testIdentity.spans.at(-1), repository, now));
  return missing;
}

/** From the present back to what the register knows last. What came and went between two looks is not told: keyd keeps no history. */
function missingOfIdentity(
  last: IdentitySpan | undefined,
  { generations, identitiesDestroyedAt }: RepositoryStatus,
  now: Date,
): KeyEvent[] {
  const kept = generations.filter((one) => one.testIdentity);
  const open = last?.to === null ? last : undefined;
  const missing: KeyEvent[] = [];
  let endedAt = last?.to;
  const lost = open?.generations.filter((one) => !kept.some(({ generation }) => generation === one)) ?? [];
  if (open !== undefined && lost.length > 0) {
    const told = identitiesDestroyedAt === null ? now : new Date(identitiesDestroyedAt);
    // By a clock that went back it may be told as earlier than it began.
    endedAt = told > open.from ? told : open.from;
    missing.push({ kind: 'identity-off', at: endedAt, kitId: null, generations: null });
  }
  const [first] = kept;
  if (first === undefined || (open !== undefined && lost.length === 0)) return missing;
  // With the generation that it was made for; one that comes back with a keyring that was recovered, now.
  const begun = new Date(first.createdAt);
  const at = endedAt == null || begun >= endedAt ? begun : now;
  const opened = kept.filter((one) => new Date(one.createdAt) <= at).map((one) => one.generation);
  missing.push({ kind: 'identity-on', at, kitId: null, generations: opened });
  return missing;
}
