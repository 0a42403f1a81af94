/** What others need of the SSH library, loaded when it is first asked for: a process without SFTP targets does not pay for it. */
import type { SftpHostKey } from '../../engine.ts';
import type { SftpPlace } from './connection.ts';
import type { SshKeyPair } from './key-pair.ts';

/** @see askHostKey in `connection.ts` */
export async function askHostKey(place: SftpPlace, type?: string): Promise<SftpHostKey> {
  return (await import('./connection.ts')).askHostKey(place, type);
}

/** @see readPrivateKey in `key-pair.ts` */
export async function readPrivateKey(text: string): Promise<SshKeyPair> {
  return (await import('./key-pair.ts')).readPrivateKey(text);
}

export async function makeKeyPair(): Promise<SshKeyPair> {
  return (await import('./key-pair.ts')).makeKeyPair();
}
