/** What goes wrong with an SFTP server, in plain words. */
import { HoldfastError } from '../../../lib/errors.ts';
import type { SftpConfig } from '../../engine.ts';

type Place = Pick<SftpConfig, 'host' | 'port'>;

/** Of an attempt to connect and sign in. Never holds what was sent to sign in. */
export function explainConnecting(error: unknown, place: Place): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const { code = '', level = '', message } = error as { code?: string; level?: string; message: string };
  const said = `${code} ${message}`;
  const at = `${place.host}, port ${String(place.port)}`;
  const parts = (hint: string) => ({ hint, detail: said.slice(0, 300) });
  if (level === 'client-authentication') {
    return new HoldfastError(
      'target_refused',
      `${place.host} does not accept the user with this password or key`,
      parts('Check the user, and that the public key stands in its authorized_keys on one line.'),
    );
  }
  if (said.includes('ECONNREFUSED')) {
    return unavailable(`Nothing answers at ${at}`, parts('Check the port, and that the server runs.'));
  }
  if (/privateKey|private key/i.test(message)) {
    return new HoldfastError('invalid_input', 'The private key cannot be read', {
      hint: 'Give one that OpenSSH made, without a passphrase.',
    });
  }
  if (/no matching/i.test(message)) {
    return unavailable(
      `${place.host} speaks no encryption, or has no host key, that is still safe`,
      parts('Let whoever runs it update its SSH server.'),
    );
  }
  if (level === 'client-timeout' || /timed out|ETIMEDOUT/i.test(said)) {
    return unavailable(
      `${at} does not answer`,
      parts('Check the address, and that a firewall lets this appliance through.'),
    );
  }
  return unavailable(
    `${at} cannot be reached over SSH`,
    parts('Check the network and the server, then try again.'),
  );
}

function unavailable(message: string, parts: { hint: string; detail: string }): HoldfastError {
  return new HoldfastError('unavailable', message, parts);
}

/** Where the target lies, for people and as the command line takes it. */
export function placeOf(config: Pick<SftpConfig, 'host' | 'port' | 'username' | 'path'>): string {
  const host = config.host.includes(':') ? `[${config.host}]` : config.host;
  const port = config.port === 22 ? '' : `:${String(config.port)}`;
  return `sftp://${encodeURIComponent(config.username)}@${host}${port}${config.path}`;
}
