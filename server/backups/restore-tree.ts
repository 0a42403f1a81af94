/**
 * The files of a snapshot under their own names, in a directory outside the appliance: names opened, content decrypted,
 * modes and times as they were.
 *
 * Guarantees: a file gets its name only when all of it was authenticated and its hash compared; nothing is written outside
 * the directory, nor through a link that lies in it. What cannot be restored is reported, the rest is restored. All of it
 * is durable before the report is given.
 * Relies on: memory for one entry per wanted file and a few megabytes for each that is worked on, and disk for 1 GiB or a
 * sixteenth of their stored bytes on top of the result, whichever is more.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError, messageOf } from '../lib/errors.ts';
import { explainWriteError } from '../lib/files.ts';
import { syncTree } from '../workspaces/index.ts';
import { contentPathOf, placeFile } from './restore-content.ts';
import { listWanted, type TreeSource, type WantedFile } from './restore-listing.ts';
import { makeFolders, openPlace, type ExistingFiles } from './restore-place.ts';
import { requireSection } from './snapshot-listing.ts';

const FILES_SECTION = 'files';
const MOST_PROBLEMS = 1_000;
/** Stored bytes that may lie staged beside what is restored. */
const STAGED_BYTES = 1024 ** 3;
/** Files that are opened and written side by side. */
const PARALLEL = 4;

export interface RestoreTreeOptions {
  /** Absolute path. */
  to: string;
  /** Paths within the workspace, `/` between parts; all when absent. A folder stands for everything below it. */
  paths?: readonly string[];
  existing: ExistingFiles;
  signal: AbortSignal;
  progress?: (done: { files: number; totalFiles: number; bytes: number; totalBytes: number }) => void;
}

export interface RestoreTreeReport {
  files: number;
  folders: number;
  bytes: number;
  /** There already, and left alone. */
  skipped: number;
  /** The first thousand. */
  problems: { path: string; reason: string }[];
  problemCount: number;
}

/**
 * @throws HoldfastError `conflict` when the directory is not empty, `not_found` when a wanted path is not in the snapshot,
 * `cancelled`, `no_space`, `wrong_state` for a snapshot that is not of an appliance.
 */
export async function restoreTree(
  source: TreeSource,
  options: RestoreTreeOptions,
): Promise<RestoreTreeReport> {
  await openPlace(options.to, options.existing);
  const report = { files: 0, folders: 0, bytes: 0, skipped: 0, problems: [], problemCount: 0 };
  const { files, folders } = await listWanted(source, options);
  for (const path of folders) await restoreFolder(options.to, path, report);
  const totals = {
    totalFiles: files.length,
    totalBytes: files.reduce((sum, { node }) => sum + Number(node.file.sizeBytes), 0),
  };
  const staging = await mkdtemp(join(options.to, '.holdfast-restore-'));
  try {
    for (const group of groupsOf(files)) {
      await restoreGroup(source, options, { group, staging, report, totals });
    }
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  if (report.files + report.folders > 0) await syncTree(options.to);
  return report;
}

async function restoreFolder(to: string, path: string, report: RestoreTreeReport): Promise<void> {
  try {
    report.folders += await makeFolders(to, path);
  } catch (error) {
    if (isSystemError(error, 'ENOSPC', 'EDQUOT')) throw explainWriteError(error, join(to, path));
    note(report, path, messageOf(error));
  }
}

/** All at once when they fit; else by the first digit of their random ids, which makes sixteen groups of like size. */
function groupsOf(files: WantedFile[]): WantedFile[][] {
  const storedBytes = files.reduce((sum, { node }) => sum + Number(node.file.storedBytes), 0);
  if (files.length === 0) return [];
  if (storedBytes <= STAGED_BYTES) return [files];
  return [...Map.groupBy(files, ({ node }) => node.file.contentId.charAt(0)).values()];
}

interface Group {
  group: WantedFile[];
  staging: string;
  report: RestoreTreeReport;
  totals: { totalFiles: number; totalBytes: number };
}

async function restoreGroup(
  source: TreeSource,
  options: RestoreTreeOptions,
  { group, staging, report, totals }: Group,
): Promise<void> {
  const section = requireSection(source.snapshot, FILES_SECTION);
  const stored = join(staging, 'stored');
  await rm(stored, { recursive: true, force: true });
  await source.reader.restoreSection(section, stored, {
    paths: group.map(({ node }) => contentPathOf(node)),
    signal: options.signal,
  });
  const waiting = group.toReversed();
  const work = async () => {
    for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
      options.signal.throwIfAborted();
      await restoreFile(source, options, join(stored, contentPathOf(file.node)), file, report);
      options.progress?.({ files: report.files + report.skipped, bytes: report.bytes, ...totals });
    }
  };
  const ends = await Promise.allSettled(
    Array.from({ length: PARALLEL }, () =>
      work().catch((error: unknown) => {
        // What concerns more than one file ends the others too.
        waiting.length = 0;
        throw error;
      }),
    ),
  );
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

async function restoreFile(
  source: TreeSource,
  { to, existing }: RestoreTreeOptions,
  stored: string,
  file: WantedFile,
  report: RestoreTreeReport,
): Promise<void> {
  try {
    const size = await placeFile(source, { to, existing, stored }, file);
    if (size === undefined) {
      report.skipped += 1;
      return;
    }
    report.files += 1;
    report.bytes += size;
  } catch (error) {
    if (isSystemError(error, 'ENOSPC', 'EDQUOT')) throw explainWriteError(error, to);
    note(report, file.path, messageOf(error));
  }
}

function note(report: RestoreTreeReport, path: string, reason: string): void {
  report.problemCount += 1;
  if (report.problems.length < MOST_PROBLEMS) report.problems.push({ path, reason });
}
