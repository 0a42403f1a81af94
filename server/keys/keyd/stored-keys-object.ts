import { buildKeysObject, type KeysStatement } from '../keys-object.ts';
import type { SigningKeyPair } from '../trust-root.ts';

/** A keys object as the keyring holds it. */
export async function storedKeysObject(
  statement: KeysStatement,
  root: SigningKeyPair,
): Promise<{ name: string; bytes: string }> {
  const built = await buildKeysObject(statement, root);
  return { name: built.name, bytes: built.bytes.toString('base64') };
}
