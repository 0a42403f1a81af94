/**
 * Who may have a password and factors here. While single sign-on is the only way in, nobody but owners may: they are who gets in when
 * the provider is away. Every way of signing in, and of getting a password, asks this.
 */
import type { Database } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { needsSecondFactor } from '../factors/methods.ts';
import { membersNeedSecondFactor } from '../factors/queries.ts';
import type { Role } from '../schema.ts';
import { findProvider, type ProviderRow } from './queries.ts';

/** Whether people who are not owners come in by single sign-on alone. */
export async function isSingleSignOnOnly(db: Database): Promise<boolean> {
  return (await findProvider(db))?.only_since != null;
}

export async function mayKeepCredentials(db: Database, role: Role): Promise<boolean> {
  return role === 'owner' || !(await isSingleSignOnOnly(db));
}

/** @throws HoldfastError `wrong_state` */
export async function requireLocalCredentials(db: Database, role: Role): Promise<void> {
  if (await mayKeepCredentials(db, role)) return;
  throw new HoldfastError('wrong_state', 'People who are not owners have no password or factor here', {
    hint: 'They come in by single sign-on only.',
  });
}

/** Whether the provider says, by a value that the settings name, that it asked for a second factor. */
export function vouchesForSecondFactor(row: Pick<ProviderRow, 'strong_acr' | 'strong_amr'>): boolean {
  return row.strong_acr.length + row.strong_amr.length > 0;
}

/** A factor is kept here also by whoever must have one and cannot bring it from the provider. */
export async function mayKeepFactors(db: Database, role: Role): Promise<boolean> {
  const row = await findProvider(db);
  if (role === 'owner' || row?.only_since == null) return true;
  return !vouchesForSecondFactor(row) && needsSecondFactor(role, await membersNeedSecondFactor(db));
}

/** @throws HoldfastError `wrong_state` */
export async function requireFactorsHere(db: Database, role: Role): Promise<void> {
  if (await mayKeepFactors(db, role)) return;
  throw new HoldfastError('wrong_state', 'Your second factor is at the provider of single sign-on, not here');
}
