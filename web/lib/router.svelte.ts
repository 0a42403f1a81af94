/**
 * Where the person is: path and query as reactive state. Links are ordinary `<a href>`; a click inside the app does not
 * reload the page. All state that a reload or another person should find lives here.
 */
interface Place {
  path: string;
  search: string;
}

const read = (): Place => ({ path: location.pathname, search: location.search });

let place = $state.raw<Place>(read());

export const route = {
  get path(): string {
    return place.path;
  },
  get search(): string {
    return place.search;
  },
  /** One value of the query, or an empty string. */
  query(name: string): string {
    return new URLSearchParams(place.search).get(name) ?? '';
  },
};

/** Goes to an address within the app. */
export function navigate(href: string, options: { replace?: boolean } = {}): void {
  if (href === location.pathname + location.search) return;
  if (options.replace === true) history.replaceState(null, '', href);
  else history.pushState(null, '', href);
  const moved = place.path !== location.pathname;
  place = read();
  if (moved) scrollTo(0, 0);
}

/** Changes values of the query; an empty one leaves it. Typing replaces the history entry, choosing adds one. */
export function setQuery(change: Record<string, string>, options: { push?: boolean } = {}): void {
  const query = new URLSearchParams(place.search);
  for (const [name, value] of Object.entries(change)) {
    if (value === '') query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  navigate(place.path + (text === '' ? '' : `?${text}`), { replace: options.push !== true });
}

/** Starts listening. @returns stops it. */
export function startRouter(): () => void {
  const onPop = (): void => {
    place = read();
  };
  addEventListener('popstate', onPop);
  document.addEventListener('click', onClick);
  return () => {
    removeEventListener('popstate', onPop);
    document.removeEventListener('click', onClick);
  };
}

function onClick(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (!link || link.target !== '' || link.hasAttribute('download')) return;
  const url = new URL(link.href, location.href);
  if (url.origin !== location.origin || url.pathname.startsWith('/api/') || url.hash !== '') return;
  event.preventDefault();
  navigate(url.pathname + url.search);
}
