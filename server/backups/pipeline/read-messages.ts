/** What the reading threads are asked and what they answer. */
import type { PackChunk, TargetConfig } from '../engine.ts';
import type { Ownership } from './file-metadata.ts';
import type { PackReference, ReadGeneration } from './pack-reader.ts';
import type { ByteString } from './path-bytes.ts';

export interface ReadThreadData {
  target: TargetConfig;
  generations: ReadGeneration[];
}

/** Where a chunk of a job goes: a file of the job, and the place in it. */
export interface ChunkUse {
  file: number;
  position: number;
}

export interface WantedPart extends PackChunk {
  uses: ChunkUse[];
}

/** A file that a job writes to. All paths are absolute. */
export interface WantedFile {
  /** Where it is staged; absent when content is checked only. */
  staging: ByteString | undefined;
  /** A file of one chunk is finished by the thread: hash, metadata, name. */
  whole: { final: ByteString; hash: string; size: number; metadata: Ownership } | undefined;
  holes: [number, number][];
}

export interface ContentJob {
  kind: 'content';
  pack: PackReference;
  parts: WantedPart[];
  files: WantedFile[];
}

export interface ContentResult {
  /** SHA-256 of each part, 32 bytes each. */
  digests: Uint8Array;
  /** By part: why it could not be read. */
  partErrors: Record<number, string>;
  /** By file: why it could not be written. */
  fileErrors: Record<number, string>;
}

/** Files whose content is staged and verified, or that are empty, to get metadata and name. */
export interface PublishJob {
  kind: 'publish';
  files: { staging: ByteString; final: ByteString; size: number; metadata: Ownership }[];
}

export interface PublishResult {
  errors: Record<number, string>;
}

export interface VerifyJob {
  kind: 'verify';
  pack: PackReference;
  /** What a signed index says is in it; absent when there is none. */
  chunks: PackChunk[] | undefined;
}

export interface VerifyResult {
  bytesRead: number;
  chunks: number;
  /** Plaintext bytes of the chunks that were checked. */
  bytesChecked: number;
  problems: string[];
}

export type ReadRequest = ContentJob | PublishJob | VerifyJob;
export type ReadResult = ContentResult | PublishResult | VerifyResult;
