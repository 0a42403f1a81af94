/**
 * What the events say of a day, and nothing else: who could open the backups at any moment of it (UTC). Pure. A retired kit goes on opening
 * the generations that it was given, so it is listed with them for ever.
 */
import type { Opens } from './schema.ts';

export interface KeyEvent {
  kind: 'made' | 'added' | 'proven' | 'retired' | 'generation' | 'identity-on' | 'identity-off';
  at: Date;
  kitId: string | null;
  /** Of `added` and `identity-on`: those that it opens from then on. Of `generation`: the new one. */
  generations: readonly number[] | null;
}

export interface KitOnDay {
  id: string;
  state: 'made' | 'proven' | 'retired';
  madeAt: Date | null;
  addedAt: Date | null;
  provenAt: Date | null;
  retiredAt: Date | null;
  generations: number[];
  opens: Opens;
  /** It counted at some moment of that day. */
  valid: boolean;
}

export interface RegisterOnDay {
  generations: { generation: number; madeAt: Date }[];
  kits: KitOnDay[];
  testIdentity: {
    kept: boolean;
    generations: number[];
    opens: Opens;
    /** Each time that the appliance could open its backups itself, as far as it was known by that day; the oldest first. */
    spans: IdentitySpan[];
  };
}

export interface IdentitySpan {
  from: Date;
  /** Null while it lasts. */
  to: Date | null;
  /** Those that it opened in that time. */
  generations: number[];
}

export const DAY_MS = 86_400_000;

/** @param events in their order. */
export function registerOn(events: readonly KeyEvent[], dayStart: Date): RegisterOnDay {
  const end = new Date(dayStart.getTime() + DAY_MS);
  const until = events.filter((event) => event.at < end);
  const generations = until.flatMap((event) =>
    event.kind === 'generation'
      ? (event.generations ?? []).map((generation) => ({ generation, madeAt: event.at }))
      : [],
  );
  const ids = [...new Set(until.flatMap((event) => event.kitId ?? []))];
  const opens = (given: readonly number[]): Opens => {
    const all = generations.length > 0 && generations.every((one) => given.includes(one.generation));
    return all ? 'everything' : given.length > 0 ? 'part' : 'nothing';
  };
  const kits = ids.map((id): KitOnDay => {
    const kit = foldKit(id, until, dayStart);
    return { ...kit, opens: opens(kit.generations) };
  });
  const spans = foldIdentity(until);
  const thatDay = spans.filter(({ to }) => to === null || to >= dayStart);
  const opened = sorted(thatDay.flatMap((span) => span.generations));
  return {
    generations,
    kits,
    testIdentity: { kept: thatDay.length > 0, generations: opened, opens: opens(opened), spans },
  };
}

const sorted = (numbers: Iterable<number>): number[] => [...new Set(numbers)].sort((a, b) => a - b);

function foldKit(id: string, events: readonly KeyEvent[], dayStart: Date): Omit<KitOnDay, 'opens'> {
  const kit: Pick<KitOnDay, 'madeAt' | 'addedAt' | 'provenAt' | 'retiredAt'> = {
    ...{ madeAt: null, addedAt: null, provenAt: null, retiredAt: null },
  };
  const generations = new Set<number>();
  for (const event of events) {
    const counts = kit.addedAt !== null && kit.retiredAt === null;
    if (event.kind === 'generation' && counts) event.generations?.forEach((one) => generations.add(one));
    if (event.kitId !== id) continue;
    if (event.kind === 'made') kit.madeAt = event.at;
    if (event.kind === 'proven') kit.provenAt = event.at;
    if (event.kind === 'added') {
      event.generations?.forEach((one) => generations.add(one));
      kit.addedAt ??= event.at;
      kit.provenAt = event.at;
      kit.retiredAt = null;
    }
    if (event.kind === 'retired') kit.retiredAt = event.at;
  }
  const state = kit.retiredAt !== null ? 'retired' : kit.addedAt === null ? 'made' : 'proven';
  const valid = kit.addedAt !== null && (kit.retiredAt === null || kit.retiredAt >= dayStart);
  return { id, ...kit, state, valid, generations: sorted(generations) };
}

function foldIdentity(events: readonly KeyEvent[]): IdentitySpan[] {
  const spans: IdentitySpan[] = [];
  for (const { kind, at, generations } of events) {
    const last = spans.at(-1);
    const open = last?.to === null ? last : undefined;
    if (kind === 'identity-on' && open === undefined)
      spans.push({ from: at, to: null, generations: sorted(generations ?? []) });
    else if ((kind === 'identity-on' || kind === 'generation') && open !== undefined)
      open.generations = sorted([...open.generations, ...(generations ?? [])]);
    else if (kind === 'identity-off' && open !== undefined) open.to = at;
  }
  return spans;
}

/**
 * Of the entries that were in force by then, the one written down last: each follows the one before, and may correct it, its day too. In
 * force from the day of the hand-over, else from the day on which it was written down.
 */
export function keepingOn<T extends { handedOverOn: string | null; recordedAt: Date }>(
  entries: readonly T[],
  day: string,
): T | undefined {
  const from = (entry: T): string => entry.handedOverOn ?? entry.recordedAt.toISOString().slice(0, 10);
  return entries
    .filter((entry) => from(entry) <= day)
    .sort((a, b) => a.recordedAt.getTime() - b.recordedAt.getTime())
    .at(-1);
}
