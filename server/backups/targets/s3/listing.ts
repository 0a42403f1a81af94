/** What lies below a prefix, page by page. */
import type { S3Client } from './client.ts';
import { decodeKey } from './uploads.ts';
import { blocksOf, textOf } from './xml.ts';

export interface ListedObject {
  key: string;
  sizeBytes: number;
  modifiedAt: Date | undefined;
}

/** @param delimiter with it, folders are given as keys that end in it. */
export async function* listObjects(
  client: S3Client,
  prefix: string,
  delimiter?: string,
): AsyncIterable<ListedObject> {
  let from: Record<string, string> = {};
  for (;;) {
    const below = delimiter === undefined ? {} : { delimiter };
    const query = { 'list-type': '2', prefix, 'encoding-type': 'url', ...below, ...from };
    const answer = await client.send({ method: 'GET', query });
    const xml = answer.body.toString('utf8');
    const decode = xml.includes('<EncodingType>url<') ? decodeKey : (text: string | undefined) => text;
    for (const block of blocksOf(xml, 'Contents')) {
      const key = decode(textOf(block, 'Key'));
      const sizeBytes = Number(textOf(block, 'Size'));
      // A server that lists something else than was asked for is not believed.
      if (key === undefined || !key.startsWith(prefix) || !Number.isSafeInteger(sizeBytes)) continue;
      const modified = Date.parse(textOf(block, 'LastModified') ?? '');
      yield { key, sizeBytes, modifiedAt: Number.isNaN(modified) ? undefined : new Date(modified) };
    }
    for (const block of blocksOf(xml, 'CommonPrefixes')) {
      const key = decode(textOf(block, 'Prefix'));
      if (key?.startsWith(prefix) === true) yield { key, sizeBytes: 0, modifiedAt: undefined };
    }
    const token = textOf(xml, 'NextContinuationToken');
    if (textOf(xml, 'IsTruncated') !== 'true' || token === undefined) return;
    from = { 'continuation-token': token };
  }
}
