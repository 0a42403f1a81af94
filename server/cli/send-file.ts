/** Sends a file to the running appliance over its control socket, as it is read. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { accountName } from '../lib/config.ts';
import { dataPaths } from '../lib/data-folder.ts';
import { HoldfastError } from '../lib/errors.ts';
import { shortPath } from '../lib/sockets.ts';
import { errorFromReply } from './control-client.ts';

interface SentFile {
  path: string;
  /** Address below `/api/v1`, from the length of the file. */
  to(sizeBytes: number): string;
  progress(done: number, total: number): void;
}

/** @throws HoldfastError `invalid_input` when there is no such file, and what the appliance answers. */
export async function sendFile<T>(dataDir: string, file: SentFile): Promise<T> {
  const found = await stat(file.path).catch(() => undefined);
  if (found?.isFile() !== true) {
    throw new HoldfastError('invalid_input', `${file.path} is no file`, {
      hint: 'Name a bundle on this machine, or an address that begins with https://.',
    });
  }
  const socketPath = shortPath(dataPaths(dataDir).controlSocket);
  const headers = {
    host: 'console',
    'x-holdfast': '1',
    'x-holdfast-account': accountName(),
    'content-type': 'application/octet-stream',
  };
  return new Promise<T>((resolve, reject) => {
    const path = `/api/v1${file.to(found.size)}`;
    const request = httpRequest({ socketPath, method: 'PUT', path, headers }, (reply) => {
      const parts: Buffer[] = [];
      reply.on('data', (part: Buffer) => parts.push(part));
      reply.on('error', reject);
      reply.on('end', () => {
        const text = Buffer.concat(parts).toString('utf8');
        const status = reply.statusCode ?? 500;
        if (status < 400) resolve(JSON.parse(text) as T);
        else reject(errorFromReply(status, text));
      });
    });
    request.on('error', (error) =>
      reject(
        new HoldfastError('unavailable', 'The appliance did not take the file', {
          hint: 'Is it running, and may this account talk to it? `holdfast status` says so.',
          cause: error,
        }),
      ),
    );
    let done = 0;
    const content = createReadStream(file.path, { highWaterMark: 256 * 1024 });
    content.on('data', (part) => file.progress((done += part.length), found.size));
    content.on('error', (error) => request.destroy(error));
    content.pipe(request);
  });
}
