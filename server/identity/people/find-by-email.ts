import { emailHashOf, type PeopleDeps } from './people.ts';
import { findUserByEmailHash } from './queries.ts';

/** The id of the person with this address who can sign in; undefined for none. */
export async function findPersonByEmail(deps: PeopleDeps, email: string): Promise<string | undefined> {
  const user = await findUserByEmailHash(deps.db, await emailHashOf(deps, email));
  return user?.disabled_at === null ? user.id : undefined;
}
