/** A list that the API hands out page by page: the first one is a query, the others are added on demand. */
import { toasts } from '../lib/toasts.svelte.ts';
import { asApiError, type ApiError } from './client.ts';
import { useQuery } from './query.svelte.ts';

interface Page<T> {
  items: readonly T[];
  nextCursor: string | null;
}

export interface Pages<T, P> {
  /** The first page, with what it says about the whole. */
  readonly first: P | undefined;
  /** Undefined while the first ones load. */
  readonly rows: readonly T[] | undefined;
  readonly error: ApiError | undefined;
  /** Undefined when everything is loaded. */
  readonly more: (() => void) | undefined;
  readonly loadingMore: boolean;
  refresh(): void;
  /** Puts a row in the place of those that fit, and leaves what was added on demand where it is. */
  replace(fits: (row: T) => boolean, row: T): void;
}

/**
 * Call while a component starts. Starts anew when reactive state that `read` uses before its first await changes; a later page is
 * read with the same state, and dropped when that has changed meanwhile.
 */
export function usePages<T, P extends Page<T>>(
  read: (cursor: string | undefined, signal?: AbortSignal) => Promise<P & Page<T>>,
): Pages<T, P> {
  const first = useQuery((signal) => read(undefined, signal));
  let added = $state.raw<{ after: unknown; items: readonly T[]; nextCursor: string | null }>();
  let loadingMore = $state(false);
  const rest = $derived(added?.after === first.data ? added : undefined);
  const rows = $derived(first.data ? [...first.data.items, ...(rest?.items ?? [])] : undefined);
  const cursor = $derived(rest ? rest.nextCursor : (first.data?.nextCursor ?? null));

  async function load(): Promise<void> {
    const after = first.data;
    if (!after || cursor === null || loadingMore) return;
    loadingMore = true;
    try {
      const page = await read(cursor);
      if (first.data === after) {
        added = { after, items: [...(rest?.items ?? []), ...page.items], nextCursor: page.nextCursor };
      }
    } catch (error) {
      const { message, hint } = asApiError(error);
      toasts.add({ tone: 'bad', message, hint });
    } finally {
      loadingMore = false;
    }
  }
  const more = (): void => {
    void load();
  };

  return {
    get first() {
      return first.data;
    },
    get rows() {
      return rows;
    },
    get error() {
      return first.error;
    },
    get more() {
      return cursor === null ? undefined : more;
    },
    get loadingMore() {
      return loadingMore;
    },
    refresh() {
      first.refresh();
    },
    replace(fits, row) {
      if (!first.data) return;
      const swap = (items: readonly T[]) => items.map((one) => (fits(one) ? row : one));
      const next = { ...first.data, items: swap(first.data.items) };
      if (rest) added = { ...rest, after: next, items: swap(rest.items) };
      first.set(next);
    },
  };
}
