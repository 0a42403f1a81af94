/** What imports and exports count and say. Nothing is left out silently: every item that was not taken has a line. */
import { HoldfastError, isSystemError, messageOf } from '../lib/errors.ts';

export interface SkippedItem {
  /** Relative to the folder that is transferred; bytes that are no UTF-8 as `\xNN`. */
  path: string;
  reason: string;
}

/** Numbers so far. */
export interface TransferProgress {
  /** New files. */
  files: number;
  /** New folders. */
  folders: number;
  /** Files whose content was brought up to date. */
  replaced: number;
  /** Files that were there already, same size and time. */
  unchanged: number;
  /** Plaintext bytes of new and replaced files. */
  bytes: number;
  skippedCount: number;
}

export interface TransferReport extends TransferProgress {
  /** The first 1,000; all of them were handed to `onSkipped`. */
  skipped: SkippedItem[];
}

export type ImportReport = TransferReport;
export type ExportReport = TransferReport;

/** How whoever started a transfer follows and stops it. */
export interface TransferWatch {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: TransferProgress) => void) | undefined;
  onSkipped?: ((item: SkippedItem) => void) | undefined;
}

export interface Tally {
  report: TransferReport;
  skip(path: string, reason: string): void;
  /** Tells whoever watches; throws `cancelled` when they want no more. */
  tick(): void;
}

const MAX_LISTED = 1_000;

export function startTally(watch: TransferWatch): Tally {
  const report: TransferReport = {
    files: 0,
    folders: 0,
    replaced: 0,
    unchanged: 0,
    bytes: 0,
    skippedCount: 0,
    skipped: [],
  };
  return {
    report,
    skip(path, reason) {
      report.skippedCount += 1;
      if (report.skipped.length < MAX_LISTED) report.skipped.push({ path, reason });
      watch.onSkipped?.({ path, reason });
    },
    tick() {
      if (watch.signal?.aborted) {
        throw new HoldfastError('cancelled', 'This was stopped; what was transferred until then stays', {
          hint: 'Run it again: what is there already is not transferred twice.',
        });
      }
      const progress: TransferProgress & Partial<TransferReport> = { ...report };
      delete progress.skipped;
      watch.onProgress?.(progress);
    },
  };
}

/** Why one item could not be taken, or undefined when the whole transfer cannot go on. */
export function skipReason(error: unknown): string | undefined {
  if (isSystemError(error, 'ENOENT')) return 'it vanished while it was read';
  if (isSystemError(error, 'EACCES', 'EPERM')) return 'this account may not read or write it';
  if (isSystemError(error, 'ELOOP', 'ENXIO')) return 'it is no file any more';
  if (isSystemError(error, 'ENAMETOOLONG')) return 'its path is too long';
  if (isSystemError(error, 'EIO')) return 'the disk cannot read it';
  if (isSystemError(error, 'EISDIR', 'ENOTDIR', 'ENOTEMPTY', 'EEXIST'))
    return 'something else of this name is there';
  if (error instanceof HoldfastError && error.code === 'integrity_failure') return messageOf(error);
  return undefined;
}

/** A path for people: valid UTF-8 as it is, other bytes as `\xNN`. */
export function showBytes(path: Buffer): string {
  const text = path.toString('utf8');
  if (Buffer.from(text, 'utf8').equals(path)) return text;
  return Array.from(path, (byte) =>
    byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`,
  ).join('');
}
