/**
 * What sshd is told while SSH is open. Pure. One account, two factors in one order: a certificate of the owner's authority, then the
 * passphrase of this opening. Nothing is forwarded, nothing of the client's environment is taken, and no old algorithm is spoken.
 */
import { normalNetwork } from '../network/settings.ts';
import { SSH_ACCOUNT } from './schema.ts';

export interface SshdPlaces {
  hostKey: string;
  authority: string;
}

/** Signatures that certificates and their authority may have; plain keys are in none of the lists. */
const AUTHORITY_SIGNATURES = [
  'ssh-ed25519',
  'sk-ssh-ed25519@openssh.com',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'sk-ecdsa-sha2-nistp256@openssh.com',
  'rsa-sha2-512',
  'rsa-sha2-256',
];
const CERTIFICATES = [
  'ssh-ed25519-cert-v01@openssh.com',
  'sk-ssh-ed25519-cert-v01@openssh.com',
  'ecdsa-sha2-nistp256-cert-v01@openssh.com',
  'ecdsa-sha2-nistp384-cert-v01@openssh.com',
  'ecdsa-sha2-nistp521-cert-v01@openssh.com',
  'sk-ecdsa-sha2-nistp256-cert-v01@openssh.com',
  'rsa-sha2-512-cert-v01@openssh.com',
  'rsa-sha2-256-cert-v01@openssh.com',
];

/** @param networks from where; empty: from everywhere. sshd holds to them as well as the packet filter. */
export function renderSshdConfig(places: SshdPlaces, port: number, networks: readonly string[]): string {
  const who =
    networks.length === 0
      ? [SSH_ACCOUNT]
      : networks.map((network) => `${SSH_ACCOUNT}@${normalNetwork(network)}`);
  return [
    `Port ${port}`,
    `HostKey ${places.hostKey}`,
    `AllowUsers ${who.join(' ')}`,
    // The certificate must name the account itself among its principals.
    `TrustedUserCAKeys ${places.authority}`,
    'AuthorizedKeysFile none',
    'AuthorizedPrincipalsFile none',
    'AuthenticationMethods publickey,password',
    'PubkeyAuthentication yes',
    'PasswordAuthentication yes',
    'KbdInteractiveAuthentication no',
    'HostbasedAuthentication no',
    'GSSAPIAuthentication no',
    'PermitEmptyPasswords no',
    'PermitRootLogin no',
    // The unit puts its own list of modules in the place of Debian's: sessions stay in the unit and end with it.
    'UsePAM yes',
    'MaxAuthTries 3',
    'MaxSessions 4',
    'MaxStartups 3:50:10',
    'LoginGraceTime 60',
    'ClientAliveInterval 60',
    'ClientAliveCountMax 3',
    'DisableForwarding yes',
    'AllowTcpForwarding no',
    'AllowStreamLocalForwarding no',
    'AllowAgentForwarding no',
    'X11Forwarding no',
    'PermitTunnel no',
    'GatewayPorts no',
    'PermitUserEnvironment no',
    'PermitUserRC no',
    'PrintMotd no',
    'Compression no',
    'UseDNS no',
    'StrictModes yes',
    'DebianBanner no',
    'LogLevel VERBOSE',
    'PidFile none',
    'HostKeyAlgorithms ssh-ed25519',
    `CASignatureAlgorithms ${AUTHORITY_SIGNATURES.join(',')}`,
    `PubkeyAcceptedAlgorithms ${CERTIFICATES.join(',')}`,
    'RequiredRSASize 3072',
    // What is left: curve25519, alone and together with a key exchange for the time of quantum computers.
    'KexAlgorithms -diffie-hellman-*,ecdh-*',
    'Ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com',
    'MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com',
    '',
  ].join('\n');
}
