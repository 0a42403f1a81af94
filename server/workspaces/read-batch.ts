/**
 * The body of a batched upload: `u32 length of the head | head, JSON | contents, one after the other`, big-endian. Everything
 * in it is limited, so a batch has a bounded place in memory.
 */
import { Value } from 'typebox/value';
import { HoldfastError } from '../lib/errors.ts';
import { BatchHead } from './schema.ts';

/** Head and contents together, at most. */
export const MAX_BATCH_BYTES = 16 * 1024 * 1024;
const MAX_HEAD_BYTES = 1024 * 1024;
const LENGTH_BYTES = 4;

export interface Batch {
  onConflict: NonNullable<BatchHead['onConflict']>;
  files: (BatchHead['files'][number] & { content: Buffer })[];
}

/** @throws invalid_input when the body is none; too_large; whatever the source throws. */
export async function readBatch(source: AsyncIterable<Uint8Array>): Promise<Batch> {
  const body = await collect(source);
  if (body.length < LENGTH_BYTES) throw noBatch('it ends before the length of its head');
  const headEnd = LENGTH_BYTES + body.readUInt32BE(0);
  if (headEnd > LENGTH_BYTES + MAX_HEAD_BYTES) throw noBatch('its head is too long');
  if (headEnd > body.length) throw noBatch('it ends within its head');
  const { onConflict = 'refuse', files } = parseHead(body.subarray(LENGTH_BYTES, headEnd));
  let offset = headEnd;
  const filled = files.map((file) => {
    const content = body.subarray(offset, (offset += file.sizeBytes));
    return { ...file, content };
  });
  if (offset !== body.length) {
    throw noBatch(`its head announces ${offset - headEnd} bytes, and ${body.length - headEnd} follow`);
  }
  return { onConflict, files: filled };
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of source) {
    length += part.length;
    if (length > MAX_BATCH_BYTES) {
      throw new HoldfastError('too_large', `A batch holds at most ${MAX_BATCH_BYTES} bytes`, {
        hint: 'Send fewer files at once, and large ones one by one.',
      });
    }
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function parseHead(text: Buffer): BatchHead {
  let head: unknown;
  try {
    head = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text));
  } catch (cause) {
    throw noBatch('its head is no JSON', cause);
  }
  if (Value.Check(BatchHead, head)) return head;
  const [first] = Value.Errors(BatchHead, head);
  throw noBatch(`its head is wrong at "${first?.instancePath ?? ''}": ${first?.message ?? ''}`);
}

function noBatch(why: string, cause?: unknown): HoldfastError {
  return new HoldfastError('invalid_input', `This is no batch of files: ${why}`, {
    hint: 'Nothing was stored. The API reference says what a batch looks like.',
    cause,
  });
}
