/**
 * An update that people upload in pieces: each goes on to hostd as it comes, which keeps what came and how far it is safe. So an
 * upload outlives the connection, the browser and this process.
 */
import type { Readable } from 'node:stream';
import type { Actor } from '../../audit/index.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { connectHost, requireHost, type HostClient } from '../host/client.ts';
import type { BeginUploadRequest, BundleUpload, CurrentUpload, PieceTaken } from '../host/updates/schema.ts';
import { audited, streamToHost, type UpdateServiceDeps } from './service.ts';

export function readUpload(deps: UpdateServiceDeps): Promise<CurrentUpload> {
  return hostOf(deps).get('/updates/upload');
}

/** @throws HoldfastError `conflict` while another file is under way, `too_large`, `no_space`. */
export function beginUpload(
  deps: UpdateServiceDeps,
  actor: Actor,
  request: BeginUploadRequest,
): Promise<BundleUpload> {
  return audited(deps, actor, { verb: 'upload-begun', detail: { ...request } }, () =>
    hostOf(deps).send('POST', '/updates/upload', request),
  );
}

export interface SentPiece {
  id: string;
  offset: number;
  /** What the sender says it is; a connection that breaks brings less. */
  sizeBytes: number;
  body: Readable;
}

/** Hands a piece on. The one that ends the file is entered in the audit log: with it an update comes to the machine. */
export async function sendPiece(
  deps: UpdateServiceDeps,
  actor: Actor,
  piece: SentPiece,
): Promise<PieceTaken> {
  const { upload } = await readUpload(deps);
  const send = () =>
    streamToHost<PieceTaken>(deps, {
      method: 'PATCH',
      path: `/updates/upload/${piece.id}`,
      headers: { 'upload-offset': String(piece.offset) },
      body: piece.body,
    });
  const last = upload?.id === piece.id && piece.offset + piece.sizeBytes >= upload.sizeBytes;
  if (!last) return send();
  const detail = { source: 'upload', total: String(upload.sizeBytes), name: upload.name };
  return audited(deps, actor, { verb: 'uploaded', detail }, send);
}

export async function discardUpload(deps: UpdateServiceDeps, actor: Actor, id: string): Promise<void> {
  await audited(deps, actor, { verb: 'upload-discarded', detail: { upload: id } }, () =>
    hostOf(deps).send('DELETE', `/updates/upload/${id}`),
  );
}

/** @throws HoldfastError `invalid_input` where the length of a body is not said. */
export function announcedLength(header: string | undefined): number {
  const length = Number(header);
  if (header !== undefined && Number.isSafeInteger(length)) return length;
  throw new HoldfastError('invalid_input', 'The length of this piece is not said', {
    hint: 'Send Content-Length.',
  });
}

function hostOf(deps: UpdateServiceDeps): HostClient {
  return requireHost(connectHost(deps.config));
}
