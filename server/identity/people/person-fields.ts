/** More that only a person's own key opens, such as the secret of their authenticator app: each value is bound to its place. */
import { HoldfastError } from '../../lib/errors.ts';
import type { FieldContext } from '../../keys/index.ts';
import type { PeopleDeps } from './people.ts';
import { findUser } from './queries.ts';

export interface PersonField {
  /** What it is, such as `passkey-name`. */
  field: string;
  /** Id of the row that holds it. */
  objectId: string;
}

type Deps = Pick<PeopleDeps, 'db' | 'sealer'>;

/** @throws HoldfastError `not_found` for an unknown person. */
export async function sealPersonBytes(
  deps: Deps,
  userId: string,
  place: PersonField,
  value: Buffer | string,
): Promise<Buffer> {
  const keyId = await subjectKeyOf(deps, userId);
  const [sealed] = await deps.sealer.seal([
    { keyId, purpose: 'person', context: contextOf(keyId, place), value },
  ]);
  if (sealed === undefined) throw new HoldfastError('internal', 'Sealing gave nothing back');
  return sealed;
}

/** @throws HoldfastError as the sealer does, such as when the person's key is destroyed. */
export async function openPersonBytes(
  deps: Deps,
  userId: string,
  { sealed, ...place }: PersonField & { sealed: Buffer },
): Promise<Buffer> {
  const keyId = await subjectKeyOf(deps, userId);
  const [opened] = await deps.sealer.open([
    { keyId, purpose: 'person', context: contextOf(keyId, place), sealed },
  ]);
  if (opened === undefined) throw new HoldfastError('internal', 'Opening gave nothing back');
  return opened;
}

/** Texts in their order; what cannot be opened is said to be unreadable. */
export async function openPersonTexts(
  deps: Deps,
  userId: string,
  fields: readonly (PersonField & { sealed: Buffer })[],
): Promise<string[]> {
  if (fields.length === 0) return [];
  const keyId = await subjectKeyOf(deps, userId);
  const opened = await deps.sealer.tryOpen(
    fields.map(({ sealed, ...place }) => ({
      keyId,
      purpose: 'person' as const,
      context: contextOf(keyId, place),
      sealed,
    })),
  );
  return opened.map((one) => (Buffer.isBuffer(one) ? one.toString('utf8') : '(unreadable)'));
}

async function subjectKeyOf(deps: Pick<Deps, 'db'>, userId: string): Promise<string> {
  const user = await findUser(deps.db, userId);
  if (user === undefined) throw new HoldfastError('not_found', 'There is no such person');
  return user.subject_key_id;
}

function contextOf(keyId: string, { field, objectId }: PersonField): FieldContext {
  return { type: field, workspaceId: '', subjectId: keyId, objectId, version: '' };
}
