/** What an entry says, sealed under the key of the person whom it is about: what it is, where the paper lies, and a note. */
import type { FieldContext, FieldSealer } from '../../keys/index.ts';
import { HoldfastError } from '../../lib/errors.ts';

export interface EntryWords {
  what: string;
  reference: string;
  note: string;
}

/** Where it belongs. */
export interface EntryPlace {
  /** Of the entry. */
  id: string;
  /** Of the person. */
  subjectKeyId: string;
}

const UNREADABLE: EntryWords = { what: '(unreadable)', reference: '', note: '' };

export async function sealEntryWords(
  deps: { sealer: Pick<FieldSealer, 'seal'> },
  entries: readonly (EntryPlace & { words: EntryWords })[],
): Promise<Buffer[]> {
  const sealed = await deps.sealer.seal(
    entries.map((entry) => ({ ...placeOf(entry), value: JSON.stringify(entry.words) })),
  );
  if (sealed.length !== entries.length) throw new HoldfastError('internal', 'Sealing gave nothing back');
  return sealed;
}

/** In their order; what no key opens any more is said to be unreadable. */
export async function openEntryWords(
  deps: { sealer: Pick<FieldSealer, 'tryOpen'> },
  entries: readonly (EntryPlace & { sealed: Buffer })[],
): Promise<EntryWords[]> {
  const opened = await deps.sealer.tryOpen(
    entries.map((entry) => ({ ...placeOf(entry), sealed: entry.sealed })),
  );
  return opened.map((one) =>
    Buffer.isBuffer(one) ? (JSON.parse(one.toString('utf8')) as EntryWords) : UNREADABLE,
  );
}

function placeOf({ id, subjectKeyId }: EntryPlace) {
  const context: FieldContext = {
    ...{ type: 'register-words', workspaceId: '', subjectId: subjectKeyId, objectId: id, version: '' },
  };
  return { keyId: subjectKeyId, purpose: 'person' as const, context };
}
