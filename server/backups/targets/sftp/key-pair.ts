/** Private keys for signing in: made here, or read from what a person pasted. */
import ssh2 from 'ssh2';
import { HoldfastError } from '../../../lib/errors.ts';

/** What a person puts into authorized_keys, on one line, beside the private half. */
export interface SshKeyPair {
  privateKey: string;
  publicKey: string;
}

const COMMENT = 'holdfast';

export function makeKeyPair(): SshKeyPair {
  const made = ssh2.utils.generateKeyPairSync('ed25519', { comment: COMMENT });
  return { privateKey: made.private, publicKey: made.public };
}

/** @throws HoldfastError `invalid_input` for what is no private key, or has a passphrase. */
export function readPrivateKey(text: string): SshKeyPair {
  const privateKey = `${text.trim()}\n`;
  const parsed = ssh2.utils.parseKey(privateKey);
  if (parsed instanceof Error || !parsed.isPrivateKey()) {
    const encrypted = parsed instanceof Error && /passphrase|encrypted/i.test(parsed.message);
    throw new HoldfastError(
      'invalid_input',
      encrypted ? 'This private key has a passphrase' : 'This is no private key that can be read',
      { hint: 'Give one without a passphrase, in the format of OpenSSH, or let the appliance make one.' },
    );
  }
  return { privateKey, publicKey: `${parsed.type} ${parsed.getPublicSSH().toString('base64')} ${COMMENT}` };
}
