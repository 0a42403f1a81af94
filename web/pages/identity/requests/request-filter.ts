/** The filters of the log of requests as they lie in the address, and what the API is asked with them. */
import type { AskedRequests } from '../../../api/requests.ts';
import { route, setQuery } from '../../../lib/router.svelte.ts';

/** Names in the address. */
const FILTER_NAMES = ['id', 'who', 'route', 'method', 'status', 'address', 'from', 'to'] as const;
export type RequestFilterName = (typeof FILTER_NAMES)[number];

export const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;

/** What an address says that a person has typed may be anything: what is none is left out. */
export function readFilter(): AskedRequests {
  const text = (name: RequestFilterName): string | undefined => route.query(name) || undefined;
  return {
    id: text('id'),
    who: text('who'),
    route: text('route'),
    method: METHODS.find((method) => method === route.query('method')),
    status: text('status'),
    address: text('address'),
    from: instantOf(route.query('from')),
    to: instantOf(route.query('to')),
  };
}

/** Of a moment as a browser's field says it, in the person's own time zone. */
function instantOf(local: string): string | undefined {
  const at = new Date(local);
  return local === '' || Number.isNaN(at.getTime()) ? undefined : at.toISOString();
}

export const filtered = (): boolean => FILTER_NAMES.some((name) => route.query(name) !== '');

export function clearFilters(): void {
  setQuery(Object.fromEntries(FILTER_NAMES.map((name) => [name, ''])), { push: true });
}
