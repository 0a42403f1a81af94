/** The filters of the log as they lie in the address, and what the API is asked with them. */
import type { AskedFilter } from '../../api/audit.ts';
import { route, setQuery } from '../../lib/router.svelte.ts';

/** Names in the address. */
export const FILTER_NAMES = [
  'action',
  'actor',
  'kind',
  'label',
  'object',
  'type',
  'result',
  'address',
  'request',
  'entry',
  'from',
  'to',
] as const;
export type FilterName = (typeof FILTER_NAMES)[number];

const KINDS = ['user', 'system', 'console'] as const;
const RESULTS = ['done', 'refused', 'failed'] as const;
const DAY = /^\d{4}-\d\d-\d\d$/;

/** What an address says that a person has typed may be anything: what is none is left out. */
export function readFilter(): AskedFilter {
  const text = (name: FilterName): string | undefined => route.query(name) || undefined;
  return {
    action: text('action'),
    actorId: text('actor'),
    actorKind: KINDS.find((kind) => kind === route.query('kind')),
    actorLabel: text('label'),
    objectId: text('object'),
    objectType: text('type'),
    result: RESULTS.find((result) => result === route.query('result')),
    address: text('address'),
    requestId: text('request'),
    entryId: text('entry'),
    from: dayStart(route.query('from'), 0),
    to: dayStart(route.query('to'), 1),
  };
}

/** Midnight that begins a day such as 2026-03-01, in the person's own time zone, some days on. */
export function dayStart(day: string, later = 0): string | undefined {
  if (!DAY.test(day)) return undefined;
  const [year = 0, month = 1, date = 1] = day.split('-').map(Number);
  const at = new Date(year, month - 1, date + later);
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
}

/** The filters that are on, as they are kept under a name. */
export function filterText(): string {
  const query = new URLSearchParams();
  for (const name of FILTER_NAMES) if (route.query(name) !== '') query.set(name, route.query(name));
  return query.toString();
}

/** Puts filters on in the place of those that are. */
export function applyFilter(text: string): void {
  const query = new URLSearchParams(text);
  setQuery(Object.fromEntries(FILTER_NAMES.map((name) => [name, query.get(name) ?? ''])), { push: true });
}

/** True when a filter is on. */
export const filtered = (): boolean => FILTER_NAMES.some((name) => route.query(name) !== '');

export function clearFilters(): void {
  applyFilter('');
}
