/**
 * Shows what is in a file without running it: images of known kinds and plain text, as its own first bytes said when
 * it was taken in. Everything else has no preview. The reply's headers make a document of it that can load and run nothing.
 */
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { HoldfastError } from '../lib/errors.ts';
import type { WorkspaceDeps } from './deps.ts';
import { openDownload, type Download, type Reading } from './download-file.ts';
import { previewOf } from './node-shape.ts';
import { decodeText } from './sniff.ts';

/** Text is cut off after this much. */
const PREVIEW_TEXT_BYTES = 1024 * 1024;
/** Larger images are for downloading. */
const PREVIEW_IMAGE_BYTES = 64 * 1024 * 1024;

/** No script, no form, no frame, no request, no origin of ours. */
export const PREVIEW_HEADERS = {
  'content-security-policy':
    "sandbox; default-src 'none'; img-src 'self'; style-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'SAMEORIGIN',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'private, no-store',
};

export interface Preview {
  contentType: string;
  body: Buffer | Readable;
  sizeBytes: number;
}

/** @throws invalid_input when there is nothing that can be shown */
export async function openPreview(
  deps: WorkspaceDeps,
  download: Download,
  reading: Reading,
): Promise<Preview> {
  const kind = previewOf(download.content.media_type);
  if (kind === null) throw noPreview('Only images and plain text are shown.');
  if (kind === 'text') {
    const range = { start: 0, end: Math.min(download.sizeBytes, PREVIEW_TEXT_BYTES) };
    const start = await buffer(await openDownload(deps, download, range, reading));
    const text = decodeText(start, range.end === download.sizeBytes);
    if (text === undefined) throw noPreview('It is not UTF-8 text throughout.');
    const body = Buffer.from(text, 'utf8');
    return { contentType: 'text/plain; charset=utf-8', body, sizeBytes: body.length };
  }
  if (download.sizeBytes > PREVIEW_IMAGE_BYTES) throw noPreview('Images above 64 MiB are not shown.');
  const range = { start: 0, end: download.sizeBytes };
  const body = await openDownload(deps, download, range, reading);
  return { contentType: download.content.media_type, body, sizeBytes: download.sizeBytes };
}

function noPreview(hint: string): HoldfastError {
  return new HoldfastError('invalid_input', 'This file has no preview', {
    hint: `${hint} Download it instead.`,
  });
}
