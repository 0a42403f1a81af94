/** Sends a file to the running appliance over its control socket, piece by piece; sent again, it goes on where it stopped. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { basename } from 'node:path';
import type { BundleUpload, CheckedBundle, PieceTaken } from '../appliance/index.ts';
import { accountName } from '../lib/config.ts';
import { dataPaths } from '../lib/data-folder.ts';
import { HoldfastError } from '../lib/errors.ts';
import { shortPath } from '../lib/sockets.ts';
import { errorFromReply, openControl } from './control-client.ts';

const PIECE_BYTES = 8 * 1024 * 1024;
/** Of the first and of the last bytes, equal for equal files: a bundle's signature is at its end. */
const FINGERPRINT_BYTES = 1024 * 1024;

interface SentFile {
  path: string;
  progress(done: number, total: number): void;
}

/** @throws HoldfastError `invalid_input` when there is no such file, and what the appliance answers. */
export async function sendBundle(dataDir: string, file: SentFile): Promise<CheckedBundle> {
  const found = await stat(file.path).catch(() => undefined);
  if (found?.isFile() !== true) {
    throw new HoldfastError('invalid_input', `${file.path} is no file`, {
      hint: 'Name a bundle on this machine, or an address that begins with https://.',
    });
  }
  const upload = await openControl(dataDir).send<BundleUpload>('POST', '/host/updates/upload', {
    name: basename(file.path).slice(0, 255),
    sizeBytes: found.size,
    fingerprint: await fingerprintOf(file.path, found.size),
  });
  for (let { offset } = upload; ;) {
    file.progress(offset, found.size);
    const end = Math.min(offset + PIECE_BYTES, found.size);
    const taken = await sendPiece(dataDir, { path: file.path, id: upload.id, offset, end });
    if (taken.bundle !== null) return taken.bundle;
    ({ offset } = taken.upload);
  }
}

async function fingerprintOf(path: string, sizeBytes: number): Promise<string> {
  const hash = createHash('sha256');
  const handle = await open(path);
  try {
    for (const position of [0, Math.max(0, sizeBytes - FINGERPRINT_BYTES)]) {
      const part = Buffer.alloc(Math.min(FINGERPRINT_BYTES, sizeBytes));
      const { bytesRead } = await handle.read(part, 0, part.length, position);
      hash.update(part.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
  return hash.digest('hex');
}

interface Piece {
  path: string;
  id: string;
  offset: number;
  /** Where it ends, not included. */
  end: number;
}

function sendPiece(dataDir: string, { path: file, id, offset, end }: Piece): Promise<PieceTaken> {
  const socketPath = shortPath(dataPaths(dataDir).controlSocket);
  const headers = {
    host: 'console',
    'x-holdfast': '1',
    'x-holdfast-account': accountName(),
    'content-type': 'application/octet-stream',
    'content-length': end - offset,
    'upload-offset': String(offset),
  };
  return new Promise((resolve, reject) => {
    const path = `/api/v1/host/updates/upload/${id}`;
    const request = httpRequest({ socketPath, method: 'PATCH', path, headers }, (reply) => {
      const parts: Buffer[] = [];
      reply.on('data', (part: Buffer) => parts.push(part));
      reply.on('error', reject);
      reply.on('end', () => {
        const text = Buffer.concat(parts).toString('utf8');
        const status = reply.statusCode ?? 500;
        if (status < 400) resolve(JSON.parse(text) as PieceTaken);
        else reject(errorFromReply(status, text));
      });
    });
    request.on('error', (error) =>
      reject(
        new HoldfastError('unavailable', 'The appliance did not take the file', {
          hint: 'Once it runs again (`holdfast status` says so), give the same command: it goes on where it stopped.',
          cause: error,
        }),
      ),
    );
    if (end === offset) return request.end();
    const content = createReadStream(file, { start: offset, end: end - 1, highWaterMark: 256 * 1024 });
    content.on('error', (error) => request.destroy(error));
    content.pipe(request);
  });
}
