/**
 * Who keeps which kit. Guarantees: an entry follows the one that was looked at, or is refused; nothing is overwritten; names, places and notes
 * are sealed under a key of their own for each entry, and are in no audit entry.
 */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import type { FieldSealer, KeyClient } from '../../keys/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { lockAppliance } from '../queries.ts';
import { insertKeeping, listKeepings, listKeyEvents, type KeepingRow } from './queries.ts';
import type { Keeping, KeepingChange } from './schema.ts';

export interface KeepingDeps {
  db: Database;
  clock: Clock;
  keys: Pick<KeyClient, 'status' | 'createSubjectKey'>;
  sealer: Pick<FieldSealer, 'seal' | 'tryOpen'>;
}

type Words = Pick<Keeping, 'holder' | 'place' | 'reference' | 'note'>;

const UNREADABLE: Words = { holder: '(unreadable)', place: '', reference: '', note: '' };
const MOST_ENTRIES = 1_000;
const NAMES = ['holder', 'place', 'reference', 'note'] as const;
const DAYS = ['handedOverOn', 'reviewOn'] as const;

/**
 * Writes down who keeps a kit from now on.
 *
 * @throws HoldfastError `not_found`; `conflict` when somebody else wrote meanwhile; `invalid_input`.
 */
export async function recordKeeping(
  deps: KeepingDeps,
  kitId: string,
  { follows, ...given }: KeepingChange,
  actor: Actor,
): Promise<Keeping> {
  const wanted = { ...given, ...Object.fromEntries(NAMES.map((name) => [name, given[name].trim()])) };
  checkKeeping(deps, wanted);
  const known = (await listKeyEvents(deps.db)).some(
    (event) => event.kitId === kitId && event.kind === 'added',
  );
  if (!known) {
    throw new HoldfastError('not_found', 'There is no such recovery kit', {
      hint: 'The list of kits has their ids.',
    });
  }
  const id = randomUUID();
  const { id: subjectKeyId } = await deps.keys.createSubjectKey(null);
  const { holder, place, reference, note } = wanted;
  const value = JSON.stringify({ holder, place, reference, note } satisfies Words);
  const [words] = await deps.sealer.seal([{ ...placeOf({ id, subjectKeyId }), value }]);
  if (words === undefined) throw new HoldfastError('internal', 'Sealing gave nothing back');
  const recordedAt = deps.clock.now();
  const { handedOverOn, reviewOn } = wanted;
  await writeTransaction(deps.db, async (tx) => {
    await lockAppliance(tx);
    const rows = await listKeepings(tx, kitId);
    const before = rows.at(-1);
    if ((before?.id ?? null) !== follows)
      throw new HoldfastError('conflict', 'Somebody else changed this meanwhile', {
        hint: 'Load the page again.',
      });
    if (rows.length >= MOST_ENTRIES)
      throw new HoldfastError('too_large', `A kit has at most ${String(MOST_ENTRIES)} entries`);
    const [old = UNREADABLE] = before === undefined ? [undefined] : await openWords(deps, [before]);
    await insertKeeping(tx, { id, kitId, subjectKeyId, words, handedOverOn, reviewOn, recordedAt });
    await recordAudit(tx, deps.clock, actor, {
      action: 'appliance.recovery-kit.keeping-recorded',
      objectType: 'recovery-kit',
      objectId: kitId,
      // Which words changed, never the words.
      detail: {
        changed: [
          ...NAMES.filter((name) =>
            before === undefined ? wanted[name] !== '' : old[name] !== wanted[name],
          ),
          ...DAYS.filter((name) => (before?.[name] ?? null) !== wanted[name]),
        ],
        ...{ handedOverOn, reviewOn },
      },
    });
  });
  return { id, ...wanted, recordedAt: recordedAt.toISOString() };
}

/** In their order; what no key opens any more is said to be unreadable. */
export async function openKeepings(
  deps: Pick<KeepingDeps, 'sealer'>,
  rows: readonly KeepingRow[],
): Promise<Keeping[]> {
  const words = await openWords(deps, rows);
  return rows.map(({ id, handedOverOn, reviewOn, recordedAt }, index) => ({
    ...{ id, ...(words[index] ?? UNREADABLE), handedOverOn, reviewOn },
    recordedAt: recordedAt.toISOString(),
  }));
}

async function openWords(deps: Pick<KeepingDeps, 'sealer'>, rows: readonly KeepingRow[]): Promise<Words[]> {
  if (rows.length === 0) return [];
  const opened = await deps.sealer.tryOpen(rows.map((row) => ({ ...placeOf(row), sealed: row.words })));
  return opened.map((one) =>
    Buffer.isBuffer(one) ? (JSON.parse(one.toString('utf8')) as Words) : UNREADABLE,
  );
}

function placeOf({ id, subjectKeyId }: Pick<KeepingRow, 'id' | 'subjectKeyId'>) {
  return {
    ...{ keyId: subjectKeyId, purpose: 'person' as const },
    context: { type: 'kit-keeping', workspaceId: '', subjectId: subjectKeyId, objectId: id, version: '' },
  };
}

function checkKeeping(deps: Pick<KeepingDeps, 'clock'>, wanted: Omit<KeepingChange, 'follows'>): void {
  const { holder, handedOverOn, reviewOn } = wanted;
  const tomorrow = new Date(deps.clock.now().getTime() + 86_400_000).toISOString().slice(0, 10);
  const problem =
    holder === ''
      ? 'It does not say who keeps the kit'
      : handedOverOn !== null && (handedOverOn > tomorrow || handedOverOn < '1990-01-01')
        ? 'The day of the hand-over lies in the future, or too far back'
        : reviewOn !== null && (reviewOn > '2200-01-01' || reviewOn < '1990-01-01')
          ? 'The day of the next look lies too far away'
          : undefined;
  if (problem !== undefined) throw new HoldfastError('invalid_input', problem);
}
