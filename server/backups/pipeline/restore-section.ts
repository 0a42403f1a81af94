/**
 * Restores a section of a snapshot into a directory, or checks its content without writing any.
 *
 * A file gets its name only when all its chunks were read, compared with their ids, written, and its hash is the one in the
 * list. Directories, links and times come last, so that nothing is written through a link and no time is disturbed.
 * A file that cannot be restored is reported with its reason; the others are restored.
 */
import { systemClock, type Clock } from '../../lib/clock.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type {
  ChunkCatalogue,
  FileEntry,
  ReportProgress,
  RepositoryGeneration,
  SourceProblem,
  SourceSection,
  TargetConfig,
} from '../engine.ts';
import { chunkIdsOf } from './chunk-source.ts';
import { openContentReader, type ContentReader, type RestoringFile } from './content-reader.ts';
import { ownershipOf } from './file-metadata.ts';
import { removeStaging } from './file-writer.ts';
import { readSegments, type ListedEntry } from './list-entries.ts';
import type { PackReader } from './pack-reader.ts';
import { isSafeRelative, type ByteString } from './path-bytes.ts';
import { selectPaths } from './path-selection.ts';
import { createProblemList, type ProblemList } from './problem-list.ts';
import { createProgressMeter, type ProgressMeter } from './progress-meter.ts';
import { openReadPool } from './read-pool.ts';
import { openRestoredTree, type RestoredTree } from './restored-tree.ts';

export interface RestoreOptions {
  /** Only these entries and what is below them; all when absent. */
  paths?: readonly string[];
  /** `refuse` (the default): the directory must be empty or absent. `replace`: files of the same name are replaced. */
  existing?: 'refuse' | 'replace';
  /** Owner of everything that is restored, instead of the recorded ones. Needs root. */
  owner?: { uid: number; gid: number };
  signal?: AbortSignal;
  progress?: ReportProgress;
  clock?: Clock;
}

export interface RestoreReport {
  files: number;
  directories: number;
  symlinks: number;
  hardLinks: number;
  /** Content bytes that were read and checked. */
  bytes: number;
  /** The first thousand. */
  problems: SourceProblem[];
  problemCount: number;
  /** Entries whose owner was left to whoever restores, because that was not root. */
  ownersNotRestored: number;
  /** Devices, fifos and sockets, which Node cannot create; each is a problem too. */
  specialsNotRestored: number;
}

export interface SectionReader {
  target: TargetConfig;
  generations: readonly RepositoryGeneration[];
  catalogue: ChunkCatalogue;
  packs: PackReader;
}

interface RestoreRun {
  reader: SectionReader;
  options: RestoreOptions;
  report: RestoreReport;
  problems: ProblemList;
  progress: ProgressMeter;
  content: ContentReader;
  /** Undefined when content is checked only. */
  tree: RestoredTree | undefined;
  asRoot: boolean;
}

/**
 * @param to absolute path of the directory; undefined checks the content only
 * @throws conflict when the directory is not empty, no_space, cancelled, wrong_key, integrity_failure when a file list is damaged
 */
export async function restoreSection(
  reader: SectionReader,
  section: SourceSection,
  to: string | undefined,
  options: RestoreOptions,
): Promise<RestoreReport> {
  const problems = createProblemList();
  const tree =
    to === undefined ? undefined : await openRestoredTree(to, options.existing ?? 'refuse', problems);
  const progress = createProgressMeter(options.clock ?? systemClock, options.progress);
  const report = emptyReport();
  const pool = openReadPool(reader.target, reader.generations);
  const staged = new Set<ByteString>();
  const content = openContentReader({
    pool,
    catalogue: reader.catalogue,
    staged,
    check: () => checkCancelled(options.signal),
    onFile: (file) => settleFile(run, file),
    onBytes: (bytes) => {
      report.bytes += bytes;
      progress.add({ bytesDone: bytes });
    },
  });
  const asRoot = process.getuid?.() === 0;
  const run: RestoreRun = { reader, options, report, problems, progress, content, tree, asRoot };
  try {
    progress.step(to === undefined ? 'checking files' : 'restoring files');
    progress.expect(
      options.paths === undefined ? { files: section.fileCount, bytes: section.sizeBytes } : {},
    );
    await takeEntries(run, section);
    await content.finish();
    crashPoint('backups.restore.files-written');
    tree?.finish(report);
    crashPoint('backups.restore.tree-finished');
  } finally {
    await content.settle();
    await pool.close();
    for (const path of staged) removeStaging(path);
  }
  progress.flush();
  return { ...report, problems: problems.listed, problemCount: problems.count };
}

function emptyReport(): RestoreReport {
  return {
    files: 0,
    directories: 0,
    symlinks: 0,
    hardLinks: 0,
    bytes: 0,
    problems: [],
    problemCount: 0,
    ownersNotRestored: 0,
    specialsNotRestored: 0,
  };
}

function checkCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new HoldfastError('cancelled', 'The run was cancelled');
}

async function takeEntries(run: RestoreRun, section: SourceSection): Promise<void> {
  const { reader, options, problems } = run;
  const wanted = selectPaths(options.paths);
  const filter = { near: wanted };
  for await (const segment of readSegments(section, reader.packs, reader.catalogue, filter)) {
    for (const listed of segment) {
      if (!wanted.take(listed.path)) continue;
      checkCancelled(options.signal);
      await takeEntry(run, listed);
    }
  }
  for (const path of wanted.unmet()) problems.add(path, 'is not in the snapshot');
}

async function takeEntry(run: RestoreRun, { path, entry }: ListedEntry): Promise<void> {
  const { tree, report, problems, options } = run;
  if (path !== '' && !isSafeRelative(path)) {
    problems.add(path, 'has a path that leads outside; not restored');
    return;
  }
  if (tree === undefined) {
    if (entry.type === 'file') await queueContent(run, path, entry, undefined);
    return;
  }
  const metadata = ownershipOf(entry, run.asRoot, options.owner);
  if (metadata.owner === undefined && entry.uid !== undefined) report.ownersNotRestored++;
  switch (entry.type) {
    case 'directory':
      tree.addDirectory(path, metadata);
      return;
    case 'symlink':
      tree.addSymlink(path, entry, metadata);
      return;
    case 'file': {
      const parent = path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
      if (!tree.enter(parent)) {
        problems.add(path, 'the folder above it could not be restored');
        return;
      }
      if (entry.linkGroup !== undefined && tree.addHardLink(path, entry.linkGroup)) return;
      await queueContent(run, path, entry, {
        staging: tree.stagingFor(parent),
        final: tree.absolute(path),
        metadata,
      });
      return;
    }
    default:
      report.specialsNotRestored++;
      problems.add(path, `is a ${entry.type}, which cannot be created here`);
  }
}

async function queueContent(
  run: RestoreRun,
  path: ByteString,
  entry: FileEntry,
  destination: RestoringFile['destination'],
): Promise<void> {
  const size = entry.size ?? 0;
  if (entry.hash === undefined || !Number.isSafeInteger(size) || size < 0) {
    run.problems.add(path, 'its line in the file list is incomplete');
    return;
  }
  const ids =
    entry.chunkLists === undefined
      ? (entry.chunks ?? [])
      : chunkIdsOf(entry, run.reader.packs, run.reader.catalogue);
  const problem = await run.content.add({
    path,
    size,
    hash: entry.hash,
    holes: entry.holes ?? [],
    linkGroup: entry.linkGroup,
    destination,
    ids,
  });
  if (problem !== undefined) run.problems.add(path, problem);
}

function settleFile(
  run: RestoreRun,
  file: { path: ByteString; linkGroup: string | undefined; problem: string | undefined },
): void {
  run.progress.add({ filesDone: 1 });
  if (file.problem === undefined) {
    run.report.files++;
    return;
  }
  run.problems.add(file.path, file.problem);
  if (file.linkGroup !== undefined) run.tree?.dropHardLinks(file.linkGroup, file.problem);
}
