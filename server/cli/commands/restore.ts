import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import {
  findReadableSnapshot,
  requireKept,
  restoreTree,
  whyExpired,
  type RestoreTreeReport,
} from '../../backups/index.ts';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import type { Run } from '../../lib/run-schema.ts';
import { chooseSnapshot, SNAPSHOT_WORDS } from '../choose-snapshot.ts';
import { TARGET_WORDS } from '../choose-target.ts';
import { addCommand, collect, type CommandContext } from '../command.ts';
import { openKitRepository } from '../kit-repository.ts';
import { addPlaceOptions, PLACE_WORDS, readPlace, type PlaceOptions } from '../target-place.ts';
import { formatBytes, printable } from '../output.ts';
import { describeEnd, followRun, runExitCode } from '../runs.ts';
import { untilInterrupted } from '../signals.ts';

interface Options extends PlaceOptions {
  to: string;
  path?: string[];
  intoExisting?: string;
  from?: string;
  kit?: string;
  raw?: boolean;
  target?: string;
}

export function addRestore(program: Command): void {
  addCommand<Options>(
    program,
    'restore',
    'Write the files of a snapshot into a directory, under their own names',
    (command) =>
      addPlaceOptions(command)
        .argument('[snapshot]', SNAPSHOT_WORDS, 'latest')
        .requiredOption('--to <directory>', 'new or empty')
        .option('--path <path>', 'only this file or folder; may be given again', collect)
        .option(
          '--into-existing <what>',
          'allow a directory that is not empty: skip or replace files that are there',
        )
        .option(
          '--from <target>',
          `read this target itself (${PLACE_WORDS}), without a running appliance; needs --kit`,
        )
        .option('--kit <file>', 'the recovery kit')
        .option('--target <target>', `read it from that target: ${TARGET_WORDS}`)
        .option('--raw', 'with --from: each section as it is stored, files encrypted'),
    (context, options, snapshot) =>
      options.from === undefined
        ? restoreByAppliance(context, options, snapshot)
        : restoreByKit(context, options, snapshot),
  );
}

function existingOf(options: Options): 'refuse' | 'skip' | 'replace' {
  const { intoExisting } = options;
  if (intoExisting === undefined) return 'refuse';
  if (intoExisting === 'skip' || intoExisting === 'replace') return intoExisting;
  throw new HoldfastError('invalid_input', '--into-existing is skip or replace');
}

async function restoreByAppliance(
  { control, output }: CommandContext,
  options: Options,
  wanted?: string,
): Promise<number> {
  if (options.kit !== undefined || options.raw === true) {
    throw new HoldfastError('invalid_input', '--kit and --raw go with --from');
  }
  const existing = existingOf(options);
  const client = control();
  const { snapshotId, targetId } = await chooseSnapshot(client, wanted, options.target);
  const body = {
    snapshotId,
    targetId,
    to: resolve(options.to),
    existing,
    ...(options.path === undefined ? {} : { paths: options.path }),
  };
  const queued = await client.send<Run>('POST', '/console/restores', body);
  const run = await followRun(client, output, queued.id);
  const report = run.result as unknown as RestoreTreeReport | null;
  output.result(run, report === null ? describeEnd(run) : describe(report));
  return runExitCode(run);
}

async function restoreByKit(
  { output }: CommandContext,
  options: Options,
  wanted = 'latest',
): Promise<number> {
  const { from, kit } = options;
  if (from === undefined || kit === undefined) throw new HoldfastError('invalid_input', '--from needs --kit');
  const existing = existingOf(options);
  const { signal, done } = untilInterrupted();
  const target = await readPlace(from, options);
  const opened = await openKitRepository({ target, kit }, output);
  const bar = output.progress();
  try {
    const snapshot = await findReadableSnapshot(
      opened.repository,
      wanted,
      (numbers) => `name an older snapshot: ${numbers}`,
    );
    if (options.raw !== true) requireKept(snapshot, ['appliance', 'files']);
    if (options.raw === true)
      return await restoreRaw({ opened, snapshot, options, existing, signal }, output);
    const { keys, sealer } = await opened.keyring();
    const report = await restoreTree(
      { reader: opened.reader, snapshot, keys, sealer },
      {
        to: resolve(options.to),
        existing,
        signal,
        progress: ({ bytes, totalBytes, files }) => bar.update(bytes, totalBytes, `${files} files`),
        ...(options.path === undefined ? {} : { paths: options.path }),
      },
    );
    bar.stop();
    for (const problem of report.problems) output.note(`! ${printable(problem.path)}: ${problem.reason}`);
    output.result({ snapshotId: snapshot.id, ...report }, describe(report));
    return report.problemCount === 0 ? EXIT.ok : EXIT.partial;
  } finally {
    bar.stop();
    await opened.close();
    done();
  }
}

interface RawRestore {
  opened: Awaited<ReturnType<typeof openKitRepository>>;
  snapshot: Awaited<ReturnType<Awaited<ReturnType<typeof openKitRepository>>['repository']['findSnapshot']>>;
  options: Options;
  existing: 'refuse' | 'skip' | 'replace';
  signal: AbortSignal;
}

/** Each section into a folder of its name; `--path` starts with that name. */
async function restoreRaw(
  { opened, snapshot, options, existing, signal }: RawRestore,
  output: CommandContext['output'],
): Promise<number> {
  if (existing === 'skip')
    throw new HoldfastError('invalid_input', '--raw goes with --into-existing replace only');
  const sections: Record<string, unknown>[] = [];
  let problems = 0;
  for (const { section } of snapshot.expired ?? [])
    output.note(`! ${whyExpired(snapshot, section.name)?.message ?? section.name}`);
  for (const section of snapshot.sections) {
    const prefix = `${section.name}/`;
    const paths = options.path?.flatMap((path) =>
      path === section.name ? [''] : path.startsWith(prefix) ? [path.slice(prefix.length)] : [],
    );
    if (paths?.length === 0) continue;
    const report = await opened.reader.restoreSection(section, join(resolve(options.to), section.name), {
      existing,
      signal,
      ...(paths === undefined || paths.includes('') ? {} : { paths }),
    });
    for (const problem of report.problems)
      output.note(`! ${section.name}/${printable(problem.path)}: ${problem.reason}`);
    problems += report.problemCount;
    sections.push({ name: section.name, ...report });
  }
  if (sections.length === 0) throw new HoldfastError('not_found', 'The snapshot holds none of these paths');
  const text = sections
    .map((section) => `${String(section.name)}: ${String(section.files)} files`)
    .join('\n');
  output.result({ snapshotId: snapshot.id, sections }, text);
  return problems === 0 ? EXIT.ok : EXIT.partial;
}

function describe(report: RestoreTreeReport): string {
  const lines = [
    `Restored ${report.files} files in ${report.folders} new folders, ${formatBytes(report.bytes)}`,
  ];
  if (report.skipped > 0) lines.push(`${report.skipped} were there already and left alone`);
  if (report.problemCount > 0) lines.push(`${report.problemCount} could not be restored`);
  return lines.join('\n');
}
