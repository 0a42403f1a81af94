/** What the writing threads are asked and what they answer. */
import type { RepositoryGeneration, TargetConfig, WrittenPack } from '../engine.ts';
import type { ByteString } from './path-bytes.ts';
import type { PackKind } from './pack.ts';

export interface WriteThreadData {
  target: TargetConfig;
  generation: Pick<RepositoryGeneration, 'generation' | 'recipient' | 'chunkIdSecret'>;
  packBytes: number;
  tables: SharedArrayBuffer[];
}

/** Why an extent's content is not, or not surely, what the scan saw. */
export const EXTENT = { ok: 0, changed: 1, vanished: 2, unreadable: 3 } as const;

/** Parts of files to read: whole small files, or stretches of a large one. One element per extent in each list. */
export interface ExtentBatch {
  kind: 'extents';
  chunkBytes: number;
  /** Absolute. */
  paths: ByteString[];
  offsets: Float64Array;
  lengths: Float64Array;
  /** Four per extent as the scan saw them: device, inode, mtime in ns, size. */
  stats: BigInt64Array;
  /** 1 where the file has fewer blocks than bytes, and holes are to be found. */
  sparse: Uint8Array;
}

export interface ExtentResults {
  states: Uint8Array;
  /** System error codes of the extents that could not be read. */
  errors: Record<number, string>;
  /** Bytes that were read. */
  lengths: Float64Array;
  chunkCounts: Uint32Array;
  /** 32 bytes per chunk, all extents back to back. */
  ids: Uint8Array;
  /** SHA-256 of each chunk, likewise. */
  digests: Uint8Array;
  /** `[offset, length]` within the file. */
  holes: Record<number, [number, number][]>;
}

/** Bytes from elsewhere than a file: a stream, a segment, a chunk list. */
export interface BytesBatch {
  kind: 'bytes';
  packKind: PackKind;
  chunkBytes: number;
  data: Uint8Array;
}

export interface BytesResult {
  ids: Uint8Array;
  digests: Uint8Array;
}

export type WriteRequest =
  ExtentBatch | BytesBatch | { kind: 'table'; memory: SharedArrayBuffer } | { kind: 'flush' };

export type WriteResult = ExtentResults | BytesResult | undefined;

export type WriteEvent =
  | { kind: 'added'; chunks: number; bytesAdded: number; bytesStored: number }
  | { kind: 'written'; sizeBytes: number }
  | { kind: 'stored'; pack: WrittenPack };
