/** The names that a target accepts. They become paths and URLs, so nothing else than what we write ourselves gets through. */
import { HoldfastError } from '../../lib/errors.ts';

const PART = /^[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,199}$/;
const MAX_PARTS = 6;

/** Every kind of object, the first part of its name. `HOLDFAST` alone lies at the top. */
export const OBJECT_KINDS = [
  'keys',
  'packs',
  'index',
  'snapshots',
  'files',
  'wal',
  'keyring',
  'ledger',
  'heads',
  'writers',
  'anchors',
  'reports',
] as const;

/** The public hint at the top of a repository. */
export const HINT_NAME = 'HOLDFAST';

function refuse(name: string): never {
  throw new HoldfastError('invalid_input', 'This is not the name of a repository object', {
    detail: JSON.stringify(name.slice(0, 300)),
  });
}

/** @throws invalid_input for anything that could leave the repository or was not made by us. */
export function checkObjectName(name: string): void {
  if (name === HINT_NAME) return;
  const parts = name.split('/');
  const known = (OBJECT_KINDS as readonly string[]).includes(parts[0] ?? '');
  if (!known || parts.length < 2 || parts.length > MAX_PARTS) refuse(name);
  if (!parts.every((part) => PART.test(part))) refuse(name);
}

/** @throws invalid_input unless `prefix` is empty or whole parts that end in `/`. */
export function checkPrefix(prefix: string): void {
  if (prefix === '') return;
  if (!prefix.endsWith('/')) refuse(prefix);
  checkObjectName(`${prefix}x`);
}
