/** What a person types about a place for backups, and the place that it is. */
import type { RecoveryPlace } from '../../../api/recovery.ts';

export type PlaceKind = RecoveryPlace['kind'];

export interface PlaceForm {
  server: string;
  /** Export, share or folder. */
  path: string;
  username: string;
  domain: string;
  password: string;
  uuid: string;
}

export const EMPTY_PLACE: PlaceForm = {
  server: '',
  path: '',
  username: '',
  domain: '',
  password: '',
  uuid: '',
};

export const PLACE_TEXTS: Record<PlaceKind, string> = {
  nfs: 'An export of a Unix file server or NAS.',
  smb: 'A share of Windows or a NAS, encrypted on the way.',
  disk: 'A second disk of this machine that holds a file system already.',
  directory: 'A folder of this machine, below /mnt.',
};

/** What is still missing. */
export function whyNoPlace(kind: PlaceKind, form: PlaceForm): string | undefined {
  if (kind === 'disk') return form.uuid.trim() === '' ? 'The id of the file system is missing' : undefined;
  if (kind === 'directory') return form.path.trim() === '' ? 'The folder is missing' : undefined;
  if (form.server.trim() === '') return 'The server is missing';
  if (form.path.trim() === '') return kind === 'nfs' ? 'The export is missing' : 'The share is missing';
  return kind === 'smb' && form.username.trim() === '' ? 'The user name is missing' : undefined;
}

export function placeFromForm<K extends PlaceKind>(
  kind: K,
  form: PlaceForm,
): Extract<RecoveryPlace, { kind: K }>;
export function placeFromForm(kind: PlaceKind, form: PlaceForm): RecoveryPlace {
  const server = form.server.trim();
  const path = form.path.trim();
  if (kind === 'disk') return { kind, uuid: form.uuid.trim() };
  if (kind === 'directory') return { kind, path };
  if (kind === 'nfs') return { kind, server, export: path };
  const domain = form.domain.trim();
  return {
    kind,
    server,
    share: path.replace(/^[/\\]+/, ''),
    username: form.username.trim(),
    ...(domain === '' ? {} : { domain }),
  };
}

/** The password that goes with it; none where it needs none. */
export function passwordFromForm(kind: PlaceKind, form: PlaceForm): { password?: string } {
  return kind !== 'smb' || form.password === '' ? {} : { password: form.password };
}
