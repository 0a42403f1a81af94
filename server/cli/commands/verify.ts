import type { Command } from 'commander';
import { verifyRepository, type VerifyReport } from '../../backups/index.ts';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import type { Run } from '../../lib/run-schema.ts';
import { TARGET_WORDS, targetPath } from '../choose-target.ts';
import { addCommand, type CommandContext } from '../command.ts';
import { openKitRepository } from '../kit-repository.ts';
import { addPlaceOptions, PLACE_WORDS, readPlace, type PlaceOptions } from '../target-place.ts';
import { formatBytes, formatInstant } from '../output.ts';
import { describeEnd, followRun, runExitCode } from '../runs.ts';
import { untilInterrupted } from '../signals.ts';

interface Options extends PlaceOptions {
  from?: string;
  kit?: string;
  structure?: boolean;
  target?: string;
  part?: boolean;
}

export function addVerify(program: Command): void {
  addCommand<Options>(
    program,
    'verify',
    'Read back and check everything stored on the targets; ends with 1 when something is wrong',
    (command) =>
      addPlaceOptions(command)
        .option(
          '--from <target>',
          `read this target itself (${PLACE_WORDS}), without a running appliance; needs --kit`,
        )
        .option('--kit <file>', 'the recovery kit')
        .option('--target <target>', `only that one: ${TARGET_WORDS}`)
        .option(
          '--part',
          'only what is due of the cycle that reads everything back once, at least a part of it',
        )
        .option('--structure', 'with --from: leave out reading every byte of the packs'),
    (context, options) =>
      options.from === undefined ? verifyByAppliance(context, options) : verifyByKit(context, options),
  );
}

async function verifyByAppliance({ control, output }: CommandContext, options: Options): Promise<number> {
  if (options.kit !== undefined || options.structure === true) {
    throw new HoldfastError('invalid_input', '--kit and --structure go with --from');
  }
  const client = control();
  const path = `${await targetPath(client, options.target)}/verify`;
  const queued = await client.send<Run>('POST', options.part === true ? `${path}?part=true` : path);
  const run = await followRun(client, output, queued.id);
  output.result(run, run.state === 'succeeded' ? describeWhole(run) : describeEnd(run));
  return runExitCode(run);
}

function describeWhole({ result }: Run): string {
  const depth =
    result?.contentChecked === false
      ? ' By its hashes: this appliance has no key to look into all of it, a restore test with the kit does.'
      : '';
  if (result?.partsRead === undefined) return `Everything stored was read back and is whole.${depth}`;
  const parts = Number(result.partsRead);
  return `${parts === 1 ? 'A part' : `${String(parts)} parts`} of what is stored ${parts === 1 ? 'was' : 'were'} read back and ${parts === 1 ? 'is' : 'are'} whole.${depth}`;
}

async function verifyByKit({ output }: CommandContext, options: Options): Promise<number> {
  const { from, kit } = options;
  if (from === undefined || kit === undefined) throw new HoldfastError('invalid_input', '--from needs --kit');
  if (options.part === true) throw new HoldfastError('invalid_input', '--part goes without --from');
  const { signal, done } = untilInterrupted();
  const target = await readPlace(from, options);
  const opened = await openKitRepository({ target, kit }, output);
  const bar = output.progress();
  try {
    const report = await verifyRepository(opened.repository, {
      everyByte: options.structure !== true,
      signal,
      progress: ({ bytesDone, bytesTotal, step }) => bar.update(bytesDone, bytesTotal, step),
    });
    bar.stop();
    const { warnings, head } = opened.repository;
    const unaccounted = newerSnapshots(warnings);
    const newest = head === undefined ? null : { number: head.number, createdAt: head.createdAt };
    const lines = [describe(report), describeHead(newest), ...unaccounted.map(describeNewer)];
    output.result({ ...report, warnings, head: newest }, lines.join('\n'));
    if (!report.ok) return EXIT.error;
    return unaccounted.length > 0 ? EXIT.partial : EXIT.ok;
  } finally {
    bar.stop();
    await opened.close();
    done();
  }
}

/**
 * Snapshots that no head lists, above the newest one. A head is written right after its snapshot, so a run was cut off in
 * between, or a head was taken away: from the target alone nobody can tell.
 */
function newerSnapshots(warnings: readonly { code: string; objects: string[] }[]): string[] {
  return warnings
    .filter((warning) => warning.code === 'unclaimed_object')
    .flatMap((warning) => warning.objects.filter((name) => name.startsWith('snapshots/')));
}

function describeNewer(name: string): string {
  return `! ${name} is newer than the newest head and was not checked: a run was cut off in its last moment, or the newest head was taken away.`;
}

/** Who remembers a higher number, from a report or a mail, knows that an older state was put back. */
function describeHead(head: { number: number; createdAt: string } | null): string {
  if (head === null) return 'No valid head is there.';
  return `The newest head here is number ${head.number}, of ${formatInstant(head.createdAt)}.`;
}

function describe(report: VerifyReport): string {
  const besides =
    report.unindexedPacks === 0 ? '' : `, and ${report.unindexedPacks} packs that no index names yet`;
  const bytes = formatBytes(report.packBytesRead + report.unindexedBytesRead);
  const read = `${report.snapshotCount} snapshots, ${report.packCount} packs${besides}, ${bytes} read`;
  if (report.ok) return `Whole: ${read}`;
  const lines = report.problems.map((problem) => `! ${problem.object}: ${problem.message}`);
  return [...lines, `${report.problemCount} problems; ${read}`].join('\n');
}
