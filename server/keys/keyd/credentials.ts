/** Client credentials: one file per role, mode 0600, made by the supervisor at each start. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { HoldfastError } from '../../lib/errors.ts';
import { readFileIfPresent, writeFileDurably } from '../../lib/files.ts';
import { KEYD_ROLES, type KeydRole } from '../key-client.ts';

const FORMAT = /^holdfast-keyd-credential\/1 ([a-z]+) ([A-Za-z0-9+/]{43}=)\n$/;

/** Where the credential of a role lies. */
export function credentialPath(runDirectory: string, role: KeydRole): string {
  return join(runDirectory, `keyd-${role}.key`);
}

/** Makes new credentials for the given roles, all of them unless said. Old ones stop working when keyd starts next. */
export async function createKeydCredentials(
  runDirectory: string,
  roles: readonly KeydRole[] = KEYD_ROLES,
): Promise<void> {
  for (const role of roles) {
    const content = `holdfast-keyd-credential/1 ${role} ${randomBytes(32).toString('base64')}\n`;
    await writeFileDurably(credentialPath(runDirectory, role), content);
  }
}

/** @throws unavailable when there is none; forbidden when it is another role's or damaged. */
export async function readCredential(path: string, role: KeydRole): Promise<Buffer> {
  const content = await readFileIfPresent(path);
  if (!content) {
    throw new HoldfastError('unavailable', 'There is no credential for the key service', {
      hint: 'Is Holdfast running? It makes the credentials when it starts.',
      detail: path,
    });
  }
  const [, found, key] = FORMAT.exec(content.toString('latin1')) ?? [];
  content.fill(0);
  if (found === role && key !== undefined) return Buffer.from(key, 'base64');
  throw new HoldfastError('forbidden', 'This credential for the key service is not valid', { detail: path });
}

/** The credentials keyd knows; a role without a file cannot connect. */
export async function readCredentials(runDirectory: string): Promise<Map<KeydRole, Buffer>> {
  const known = new Map<KeydRole, Buffer>();
  for (const role of KEYD_ROLES) {
    const path = credentialPath(runDirectory, role);
    if ((await readFileIfPresent(path)) !== undefined) known.set(role, await readCredential(path, role));
  }
  return known;
}
