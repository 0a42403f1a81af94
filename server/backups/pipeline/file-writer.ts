/**
 * Writes restored files of one job. A file is staged beside its place under a name of ours and gets its own name only after
 * its content was checked; a reader never sees half a file, nor a wrong one.
 */
import { closeSync, constants, ftruncateSync, openSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { HoldfastError, isSystemError, messageOf } from '../../lib/errors.ts';
import { applyToDescriptor, type Ownership } from './file-metadata.ts';
import { outsideHoles } from './holes.ts';
import { fsPathOf, type ByteString } from './path-bytes.ts';
import type { ChunkUse, WantedFile } from './read-messages.ts';

const { O_CREAT, O_NOFOLLOW, O_WRONLY } = constants;

export interface FileWriter {
  write(use: ChunkUse, chunk: Buffer, digest: Buffer): void;
  publish(file: PublishedFile): string | undefined;
  close(): void;
  /** By number of the file. */
  readonly errors: Record<number, string>;
}

export interface PublishedFile {
  staging: ByteString;
  final: ByteString;
  size: number;
  metadata: Ownership;
}

export function openFileWriter(files: readonly WantedFile[]): FileWriter {
  const errors: Record<number, string> = {};
  /** The file that is being written stays open: its chunks mostly follow each other. */
  let open: { file: number; descriptor: number } | undefined;

  const close = (): void => {
    if (open === undefined) return;
    const { descriptor } = open;
    open = undefined;
    closeSync(descriptor);
  };
  const descriptorOf = (number: number, staging: ByteString): number => {
    if (open?.file === number) return open.descriptor;
    close();
    const descriptor = openStaging(staging);
    open = { file: number, descriptor };
    return descriptor;
  };

  return {
    errors,
    close,
    write(use, chunk, digest) {
      const file = files[use.file];
      if (file?.staging === undefined || errors[use.file] !== undefined) return;
      try {
        if (file.whole !== undefined && digest.toString('hex') !== file.whole.hash) {
          errors[use.file] = 'its content is not what the snapshot says';
          return;
        }
        const descriptor = descriptorOf(use.file, file.staging);
        writeAround(descriptor, chunk, use.position, file.holes);
        if (file.whole === undefined) return;
        const end = use.position + chunk.length;
        if (file.holes.length > 0 || end !== file.whole.size) ftruncateSync(descriptor, file.whole.size);
        applyToDescriptor(descriptor, file.whole.metadata);
        close();
        renameSync(fsPathOf(file.staging), fsPathOf(file.whole.final));
      } catch (error) {
        errors[use.file] = writeReason(error);
        if (file.whole !== undefined) removeStaging(file.staging);
      }
    },
    publish(file) {
      try {
        const descriptor = openStaging(file.staging);
        try {
          finish(descriptor, file.size, file.metadata);
        } finally {
          closeSync(descriptor);
        }
        renameSync(fsPathOf(file.staging), fsPathOf(file.final));
        return undefined;
      } catch (error) {
        removeStaging(file.staging);
        return writeReason(error);
      }
    },
  };
}

function openStaging(path: ByteString): number {
  return openSync(fsPathOf(path), O_WRONLY | O_CREAT | O_NOFOLLOW, 0o600);
}

function writeAround(
  descriptor: number,
  chunk: Buffer,
  position: number,
  holes: readonly [number, number][],
): void {
  for (const [start, length] of outsideHoles(position, chunk.length, holes)) {
    let at = start;
    const end = start + length;
    while (at < end) at += writeSync(descriptor, chunk, at - position, end - at, at);
  }
}

/** A hole at the end has no bytes to write: the length makes it. */
function finish(descriptor: number, size: number, metadata: Ownership): void {
  ftruncateSync(descriptor, size);
  applyToDescriptor(descriptor, metadata);
}

export function removeStaging(path: ByteString): void {
  try {
    unlinkSync(fsPathOf(path));
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) throw error;
  }
}

/** Why one file could not be written. A full disk is no matter of one file. @throws no_space */
function writeReason(error: unknown): string {
  if (isSystemError(error, 'ENOSPC', 'EDQUOT')) {
    throw new HoldfastError('no_space', 'The disk that is restored to is full', {
      hint: 'Free some space there or choose another folder, then restore again into an empty one.',
      cause: error,
    });
  }
  if (isSystemError(error, 'EISDIR', 'ENOTEMPTY', 'EEXIST')) return 'a folder of that name is in its place';
  if (isSystemError(error, 'ENAMETOOLONG')) return 'its path is too long here';
  if (isSystemError(error, 'EFBIG')) return 'it is too large for this file system';
  if (isSystemError(error, 'EACCES', 'EPERM', 'EROFS')) return 'it may not be written here';
  return `it could not be written: ${isSystemErrorCode(error) ?? messageOf(error)}`;
}

function isSystemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}
