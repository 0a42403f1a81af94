import type { Command } from 'commander';
import { verifyRepository, type VerifyReport } from '../../backups/index.ts';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import type { Run } from '../../lib/run-schema.ts';
import { addCommand, type CommandContext } from '../command.ts';
import { openKitRepository } from '../kit-repository.ts';
import { formatBytes } from '../output.ts';
import { describeEnd, followRun, runExitCode } from '../runs.ts';
import { untilInterrupted } from '../signals.ts';

interface Options {
  from?: string;
  kit?: string;
  structure?: boolean;
}

export function addVerify(program: Command): void {
  addCommand<Options>(
    program,
    'verify',
    'Read back and check everything stored on the target; ends with 1 when something is wrong',
    (command) =>
      command
        .option('--from <target>', 'read this target itself, without a running appliance; needs --kit')
        .option('--kit <file>', 'the recovery kit')
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
  const queued = await client.send<Run>('POST', '/targets/verify');
  const run = await followRun(client, output, queued.id);
  output.result(
    run,
    run.state === 'succeeded' ? 'Everything stored was read back and is whole.' : describeEnd(run),
  );
  return runExitCode(run);
}

async function verifyByKit({ output }: CommandContext, options: Options): Promise<number> {
  const { from, kit } = options;
  if (from === undefined || kit === undefined) throw new HoldfastError('invalid_input', '--from needs --kit');
  const { signal, done } = untilInterrupted();
  const opened = await openKitRepository({ from, kit }, output);
  const bar = output.progress();
  try {
    const report = await verifyRepository(opened.repository, {
      everyByte: options.structure !== true,
      signal,
      progress: ({ bytesDone, bytesTotal, step }) => bar.update(bytesDone, bytesTotal, step),
    });
    bar.stop();
    const { warnings } = opened.repository;
    output.result({ ...report, warnings }, describe(report));
    return report.ok ? EXIT.ok : EXIT.error;
  } finally {
    bar.stop();
    await opened.close();
    done();
  }
}

function describe(report: VerifyReport): string {
  const read = `${report.snapshotCount} snapshots, ${report.packCount} packs, ${formatBytes(report.packBytesRead)} read`;
  if (report.ok) return `Whole: ${read}`;
  const lines = report.problems.map((problem) => `! ${problem.object}: ${problem.message}`);
  return [...lines, `${report.problemCount} problems; ${read}`].join('\n');
}
