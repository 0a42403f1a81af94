/** What a person has typed of an SFTP target, and what is asked of the server with it. */
import type { MadeKey, TargetSignIn } from '../../api/shapes.ts';

export interface SignInDraft {
  way: TargetSignIn['kind'];
  made: MadeKey | undefined;
  privateKey: string;
  password: string;
}

export interface SftpDraft extends SignInDraft {
  host: string;
  port: number;
  username: string;
  path: string;
  /** The one that was compared. */
  fingerprint: string | undefined;
}

export function emptySignIn(): SignInDraft {
  return { way: 'made-key', made: undefined, privateKey: '', password: '' };
}

export function emptyDraft(): SftpDraft {
  return { ...emptySignIn(), host: '', port: 22, username: '', path: '', fingerprint: undefined };
}

/** @returns undefined while something is missing. */
export function signInOf(draft: SignInDraft): TargetSignIn | undefined {
  const { way, made, privateKey, password } = draft;
  if (way === 'made-key') return made === undefined ? undefined : { kind: way, keyId: made.id };
  if (way === 'private-key') return privateKey.trim() === '' ? undefined : { kind: way, privateKey };
  return password === '' ? undefined : { kind: way, password };
}

export function whatIsMissing(draft: SftpDraft): string | undefined {
  if (draft.host.trim() === '') return 'The server is missing';
  if (!Number.isInteger(draft.port) || draft.port < 1 || draft.port > 65_535)
    return 'The port is a number up to 65535';
  if (!draft.path.trim().startsWith('/')) return 'The directory must start with /';
  if (draft.username.trim() === '') return 'The user is missing';
  return whatSignInMisses(draft);
}

export function whatSignInMisses(draft: SignInDraft): string | undefined {
  if (signInOf(draft) !== undefined) return undefined;
  if (draft.way === 'made-key') return 'The key is not made yet';
  return draft.way === 'password' ? 'The password is missing' : 'The private key is missing';
}
