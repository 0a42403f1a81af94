/** Names of people by their ids, for pages that show what keeps ids only. Asked for by whoever may see people, and read once. */
import { session } from '../session.svelte.ts';
import { request } from './client.ts';

const MOST = 100;
let names = $state.raw<Readonly<Record<string, string>>>({});
/** Also those whom nobody knows: they are not asked for again. */
const asked: Record<string, boolean> = {};

/** The name of a person, when it is known and may be seen. */
export function nameOf(id: string): string | undefined {
  return session.may('people.read') ? names[id] : undefined;
}

/** Without an answer the ids stay, and the next look asks again. */
export async function learnNames(ids: readonly string[]): Promise<void> {
  if (!session.may('people.read')) return;
  const fresh = ids.filter((id, at) => asked[id] !== true && ids.indexOf(id) === at);
  for (const id of fresh) asked[id] = true;
  for (let at = 0; at < fresh.length; at += MOST) {
    try {
      const { items } = await request<{ items: { id: string; name: string }[] }>('/people/names', {
        query: { ids: fresh.slice(at, at + MOST).join(',') },
      });
      names = { ...names, ...Object.fromEntries(items.map(({ id, name }) => [id, name])) };
    } catch {
      for (const id of fresh.slice(at)) asked[id] = false;
      return;
    }
  }
}
