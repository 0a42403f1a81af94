import type { Command } from 'commander';
import { HoldfastError } from '../../lib/errors.ts';
import { writeFileDurably } from '../../lib/files.ts';
import type { RestoreTest } from '../../restore-tests/index.ts';
import { addCommand, type CommandContext } from '../command.ts';
import { chooseSnapshot, SNAPSHOT_WORDS } from '../choose-snapshot.ts';
import { startKitTest } from '../kit-test.ts';
import { describeEnd, followRun, runExitCode } from '../runs.ts';
import { describeRto } from '../rto.ts';
import { readWholeKit } from '../secrets.ts';

interface Options {
  mode: string;
  snapshot?: string;
  kit?: string;
  report?: string;
}

export function addRestoreTest(program: Command): void {
  addCommand<Options>(
    program,
    'restore-test',
    'Restore a snapshot into a scratch place and check it; ends with 1 when a check failed',
    (command) =>
      command
        .argument('[snapshot]', SNAPSHOT_WORDS)
        .option('--mode <mode>', 'quick (a sample) or full', 'quick')
        .option('--snapshot <which>', 'the same')
        .option('--kit <file>', 'open the backup with this recovery kit, to prove the kit')
        .option('--report <file>', 'write the signed report there (two JSON lines); verify-report checks it'),
    async (context, given, snapshot?: string) => {
      const options = snapshot === undefined ? given : { ...given, snapshot };
      const client = context.control();
      const started = await start(context, options);
      const run = await followRun(client, context.output, started.runId);
      const test = await client.get<RestoreTest>(`/restore-tests/${started.id}`);
      if (options.report !== undefined && test.reportSha256 !== null) {
        await writeFileDurably(options.report, await client.getText(`/restore-tests/${started.id}/report`));
      }
      const text = test.checks.length > 0 ? describe(test) : describeEnd(run);
      context.output.result({ run, restoreTest: test }, text);
      return runExitCode(run);
    },
  );
}

async function start({ control }: CommandContext, options: Options): Promise<RestoreTest> {
  const { mode } = options;
  if (mode !== 'quick' && mode !== 'full')
    throw new HoldfastError('invalid_input', '--mode is quick or full');
  const client = control();
  if (options.kit !== undefined) {
    const kit = await readWholeKit(options.kit);
    return startKitTest(client, {
      kitId: kit.kitId,
      identity: kit.ageIdentity,
      trustRoot: kit.trustRoot,
      mode,
      ...(options.snapshot === undefined ? {} : { snapshot: options.snapshot }),
    });
  }
  const chosen = await chooseSnapshot(client, options.snapshot);
  return client.send<RestoreTest>('POST', '/restore-tests', { ...chosen, mode, keySource: 'test-identity' });
}

function describe(test: RestoreTest): string {
  const time = test.rtoMs === null ? [] : [`Recovery time: ${describeRto(test.rtoMs, test.rtoBasis)}`];
  const verdict = test.grade === null ? test.state.toUpperCase() : test.grade.toUpperCase().replace('-', ' ');
  const lines = test.checks.map((check) => {
    const mark = { passed: 'ok  ', failed: 'BAD ', skipped: 'skip' }[check.state];
    const found =
      check.state === 'failed' ? `: expected ${check.expected}, found ${check.found}` : `: ${check.found}`;
    return `${mark}  ${check.label}${found}`;
  });
  return [
    `${verdict}  snapshot ${test.snapshotId.slice(0, 12)} from ${test.targetName}`,
    ...time,
    ...lines,
  ].join('\n');
}
