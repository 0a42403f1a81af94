import type { Command } from 'commander';
import { HoldfastError } from '../../lib/errors.ts';
import { writeFileDurably } from '../../lib/files.ts';
import type { PointInTimeStatus } from '../../backups/index.ts';
import type { RestoreTest } from '../../restore-tests/index.ts';
import { addCommand, type CommandContext } from '../command.ts';
import { chooseSnapshot, findTargetId, SNAPSHOT_WORDS } from '../choose-snapshot.ts';
import type { ControlClient } from '../control-client.ts';
import { lendKit, startKitTest } from '../kit-test.ts';
import { describeEnd, followRun, runExitCode } from '../runs.ts';
import { describeRto } from '../rto.ts';
import { readWholeKit } from '../secrets.ts';

interface Options {
  mode: string;
  snapshot?: string;
  copy?: string;
  toTime?: string;
  toLsn?: string;
  target?: string;
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
        .option(
          '--mode <mode>',
          'quick (a sample), full, or system (what a machine needs besides its data)',
          'quick',
        )
        .option('--snapshot <which>', 'the same')
        .option(
          '--copy <which>',
          'latest, random (drawn by the appliance) or each (the newest of every target)',
        )
        .option('--target <name>', 'from this target: its name or id')
        .option('--to-time <instant>', 'test this moment instead of a snapshot, such as 2030-01-31T14:05:00Z')
        .option('--to-lsn <position>', 'the same, by its position in the write-ahead log')
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
  if (mode !== 'quick' && mode !== 'full' && mode !== 'system')
    throw new HoldfastError('invalid_input', '--mode is quick, full or system');
  const client = control();
  if (options.toTime !== undefined || options.toLsn !== undefined)
    return startAtMoment(client, options, mode);
  if (options.copy !== undefined) return startByChoice(client, { ...options, mode });
  if (options.kit !== undefined) {
    const kit = await readWholeKit(options.kit);
    return startKitTest(client, {
      kitId: kit.kitId,
      identity: kit.ageIdentity,
      trustRoot: kit.trustRoot,
      mode,
      ...(options.snapshot === undefined ? {} : { snapshot: options.snapshot }),
      ...(options.target === undefined ? {} : { target: options.target }),
    });
  }
  const chosen = await chooseSnapshot(client, options.snapshot, options.target);
  return client.send<RestoreTest>('POST', '/restore-tests', { ...chosen, mode, keySource: 'test-identity' });
}

async function startAtMoment(
  client: ControlClient,
  { toTime: time, toLsn: lsn, ...options }: Options,
  mode: 'quick' | 'full' | 'system',
): Promise<RestoreTest> {
  if (mode === 'system') {
    throw new HoldfastError('invalid_input', 'A moment is of the data: its scope is quick or full');
  }
  if (options.snapshot !== undefined || options.copy !== undefined) {
    throw new HoldfastError('invalid_input', 'A moment is tested without --snapshot and --copy', {
      hint: 'The snapshot before it is found by itself.',
    });
  }
  const targetId = await momentsOf(client, options.target);
  const kit = options.kit === undefined ? undefined : await readWholeKit(options.kit);
  const lent =
    kit === undefined
      ? undefined
      : await lendKit(
          client,
          { kitId: kit.kitId, identity: kit.ageIdentity, trustRoot: kit.trustRoot },
          targetId,
        );
  return client.send<RestoreTest>('POST', '/restore-tests/point-in-time', {
    ...{ targetId, mode },
    ...(lent === undefined ? {} : { lent }),
    ...(time === undefined ? {} : { time }),
    ...(lsn === undefined ? {} : { lsn }),
  });
}

async function momentsOf(client: ControlClient, name: string | undefined): Promise<string> {
  if (name !== undefined) return findTargetId(client, name);
  const { targets } = await client.get<PointInTimeStatus>('/point-in-time');
  const [found, second] = targets;
  if (found !== undefined && second === undefined) return found.targetId;
  throw new HoldfastError('invalid_input', 'Say from which target: --target');
}

/** The appliance chooses; a kit needs to know the copy before, so that it takes a certain one. */
async function startByChoice(
  client: ControlClient,
  { copy, mode, target, snapshot, kit }: Options,
): Promise<RestoreTest> {
  if (copy !== 'latest' && copy !== 'random' && copy !== 'each')
    throw new HoldfastError('invalid_input', '--copy is latest, random or each');
  if (snapshot !== undefined)
    throw new HoldfastError('invalid_input', 'Give a snapshot or --copy, one of them');
  if (kit !== undefined) {
    throw new HoldfastError('invalid_input', '--copy goes with the test identity only', {
      hint: 'Without --copy the kit opens the newest; --snapshot and --target choose another.',
    });
  }
  if (copy === 'each' && target !== undefined)
    throw new HoldfastError('invalid_input', '--copy each takes every target');
  const targetId = target === undefined ? undefined : await findTargetId(client, target);
  return client.send<RestoreTest>('POST', '/restore-tests', {
    ...{ mode, keySource: 'test-identity', choice: copy === 'random' ? 'random' : 'latest' },
    ...(copy === 'each' ? { everyTarget: true } : {}),
    ...(targetId === undefined ? {} : { targetId }),
  });
}

function describe(test: RestoreTest): string {
  const time = test.rtoMs === null ? [] : [`Recovery time: ${describeRto(test.rtoMs, test.rtoBasis)}`];
  const verdict = test.grade === null ? test.state.toUpperCase() : test.grade.toUpperCase().replace('-', ' ');
  const lines = test.checks.map((check) => {
    const mark = { passed: 'ok  ', warned: 'warn', failed: 'BAD ', skipped: 'skip' }[check.state];
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
