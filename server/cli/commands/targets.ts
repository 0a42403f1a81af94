import type { Command } from 'commander';
import { tellDays, tellLockChange, type CopyRule, type TargetReply } from '../../backups/index.ts';
import type { Run } from '../../lib/run-schema.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Static } from 'typebox';
import { listTargets, pickTarget, TARGET_WORDS } from '../choose-target.ts';
import { addCommand } from '../command.ts';
import { formatBytes, formatInstant, printable, table } from '../output.ts';
import { describeEnd, followRun, runExitCode } from '../runs.ts';

type Rule = Static<typeof CopyRule>;

export function addTargets(program: Command): void {
  const targets = addCommand<{ all?: boolean }>(
    program,
    'targets',
    'List the targets in their order, and what each has and lacks',
    (command) => command.option('--all', 'retired ones too'),
    async ({ control, output }, options) => {
      const client = control();
      const items = (await listTargets(client)).filter(
        (one) => options.all === true || one.state === 'active',
      );
      const rule = await client.get<Rule>('/copy-rule');
      output.result({ items, rule }, describeAll(items, rule));
    },
  );
  addCommand(
    targets,
    'copy',
    'Bring a target what it lacks of the snapshots on the others',
    (command) => command.argument('<target>', TARGET_WORDS),
    async ({ control, output }, _options, wanted) => {
      const client = control();
      const { id, name } = pickTarget(await listTargets(client), wanted);
      const run = await followRun(client, output, (await client.send<Run>('POST', `/targets/${id}/copy`)).id);
      output.result(run, run.state === 'succeeded' ? describeCopy(run, name) : describeEnd(run));
      return runExitCode(run);
    },
  );
  addCommand(
    targets,
    'order',
    'Say which target takes each snapshot first, and which when that one is away',
    (command) => command.argument('<targets>', 'all that are in use, with commas between, the first first'),
    async ({ control, output }, _options, wanted) => {
      const client = control();
      const present = await listTargets(client);
      const ids = wanted.split(',').map((one) => pickTarget(present, one.trim()).id);
      const { items } = await client.send<{ items: TargetReply[] }>('PUT', '/targets/order', { ids });
      const active = items.filter((one) => one.state === 'active');
      output.result(
        { items: active },
        active.map((one) => `${one.position}. ${printable(one.name)}`).join('\n'),
      );
    },
  );
  addCommand(
    targets,
    'lock',
    'Show or change for how many days an S3 target locks what snapshots need',
    (command) =>
      command
        .argument('<target>', TARGET_WORDS)
        .argument('[days]', 'a number, or policy: as long as the policy of the target promises'),
    async ({ control, output }, _options, wanted: string, days?: string) => {
      const client = control();
      const target = pickTarget(await listTargets(client), wanted);
      const before = target.s3?.lock ?? null;
      if (days === undefined) {
        output.result({ lock: before }, describeLock(before));
        return;
      }
      const change = days === 'policy' ? { followsPolicy: true } : { days: readDays(days) };
      const changed = await client.send<TargetReply>('PUT', `/targets/${target.id}/lock`, change);
      const after = changed.s3?.lock ?? null;
      output.result({ lock: after }, [describeLock(after), ...tellChange(before, after)].join('\n'));
    },
  );
  addCommand(
    targets,
    'rule',
    'Show or change on how many targets a snapshot has to be before it counts as stored',
    (command) => command.argument('[needed]', 'a number, or all'),
    async ({ control, output }, _options, wanted?: string) => {
      const client = control();
      const rule =
        wanted === undefined
          ? await client.get<Rule>('/copy-rule')
          : await client.send<Rule>('PUT', '/copy-rule', { needed: readNeeded(wanted) });
      output.result(rule, rule.words);
    },
  );
}

function readNeeded(wanted: string): number | null {
  if (wanted === 'all') return null;
  if (/^[1-9]\d?$/.test(wanted)) return Number(wanted);
  throw new HoldfastError('invalid_input', 'The number of targets is from 1 to 99, or all');
}

function readDays(wanted: string): number {
  if (/^[1-9]\d{0,3}$/.test(wanted)) return Number(wanted);
  throw new HoldfastError('invalid_input', 'A lock lasts 1 to 3650 days, or as long as the policy promises', {
    hint: 'Give a number of days, or `policy`.',
  });
}

type Lock = NonNullable<TargetReply['s3']>['lock'];

function describeLock(lock: Lock): string {
  if (lock === null) return 'It locks nothing.';
  const by = lock.followsPolicy ? ', as its policy promises' : '';
  return `Locked (${lock.mode}) for ${tellDays(lock.days)} after the last snapshot that needs an object${by}.`;
}

function tellChange(before: Lock, after: Lock): string[] {
  if (before === null || after === null || before.days === after.days) return [];
  return [tellLockChange(after.mode, before.days, after.days)];
}

function describeAll(targets: readonly TargetReply[], rule: Rule): string {
  if (targets.length === 0) return 'No target yet. Add one in the browser.';
  const rows = targets.map(({ name, position, state, copies, readBack, freeBytes, location }) => [
    state === 'active' ? String(position) : '',
    printable(name),
    describeState(copies),
    copies.newest === null ? '' : `${copies.newest.number} of ${formatInstant(copies.newest.takenAt)}`,
    copies.provenAt === null ? '' : formatInstant(copies.provenAt),
    state === 'active' ? describeReadBack(readBack) : '',
    formatBytes(copies.sizeBytes),
    freeBytes === null ? '' : formatBytes(freeBytes),
    printable(location),
  ]);
  const problems = targets.flatMap(({ name, copies: { problem } }) =>
    problem === null ? [] : [`! ${printable(name)}: ${problem.message}. ${problem.hint ?? ''}`.trimEnd()],
  );
  return [
    table(['', 'name', 'state', 'newest', 'proven', 'read back', 'size', 'free', 'where'], rows),
    ...problems,
    rule.words,
  ].join('\n');
}

function describeState({ state, behind, behindSince }: TargetReply['copies']): string {
  if (behind === 0 || state === 'retired') return state.replaceAll('-', ' ');
  const since = behindSince === null ? '' : ` since ${formatInstant(behindSince)}`;
  return `${state}, behind by ${behind}${since}`;
}

function describeReadBack({ parts, partsDone, startedAt, closedAt, late }: TargetReply['readBack']): string {
  const whole = closedAt === null ? '' : `whole ${formatInstant(closedAt)}`;
  const now = startedAt === null ? '' : `${String(partsDone)} of ${String(parts)} parts`;
  return [whole, now, late ? 'late' : ''].filter((words) => words !== '').join(', ');
}

function describeCopy(run: Run, name: string): string {
  const number = (key: string) => Number(run.result?.[key] ?? 0);
  return `Copied ${number('copied')} snapshots, ${formatBytes(number('bytes'))}, to ${printable(name)}`;
}
