import { createInterface } from 'node:readline/promises';
import { text as readAll } from 'node:stream/consumers';
import type { Command } from 'commander';
import {
  connectHost,
  type CheckedSetBack,
  type SetBackPlan,
  type SetBackView,
  type UndoPlan,
} from '../../appliance/index.ts';
import { parsePoint } from '../../backups/index.ts';
import { kitToJson, MAX_KIT_CHARACTERS, parseRecoveryKit } from '../../keys/index.ts';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import { chooseSnapshot, SNAPSHOT_WORDS } from '../choose-snapshot.ts';
import { TARGET_WORDS } from '../choose-target.ts';
import { addCommand, type CommandContext } from '../command.ts';
import { formatBytes, formatInstant, printable } from '../output.ts';
import { readWholeKit } from '../secrets.ts';

const LOOK_EVERY_MS = 2_000;

/** What a set-back asks for, beside the snapshot. */
export interface SetBackOptions {
  kit?: string;
  reason?: string;
  name?: string;
  acceptWarnings?: boolean;
  toTime?: string;
  target?: string;
  wait: boolean;
}

export function addSetBack(program: Command): void {
  const words = 'Set the appliance of this machine back to a snapshot, and undo that';
  const setBack = program.command('set-back').summary(words).description(words);
  addCommand<SetBackOptions>(
    setBack,
    'to',
    'Set back to a snapshot; what was written since goes out of use',
    (command) =>
      addSetBackOptions(command.argument('<snapshot>', SNAPSHOT_WORDS))
        .option(
          '--to-time <instant>',
          'go on from it to this moment, such as 2030-01-31T14:05:00Z, as far as the shipped log reaches',
        )
        .option('--target <target>', `read it from that one: ${TARGET_WORDS}`),
    async (context, options, wanted = '') => {
      const { toTime, target } = options;
      const { snapshotId, targetId } = await chooseSnapshot(context.control(), wanted, target);
      const point = {
        snapshot: snapshotId,
        ...(toTime === undefined ? {} : { moment: momentOf(toTime) }),
        ...(target === undefined ? {} : { target: targetId }),
      };
      return performSetBack(context, point, options);
    },
  );
  addCommand(
    setBack,
    'status',
    'The last set-back, and how far it is',
    plain,
    async ({ control, output }) => {
      const view = await control().get<SetBackView>('/host/set-back');
      output.result(view, describeView(view));
      return EXIT.ok;
    },
  );
  addCommand<SetBackOptions>(
    setBack,
    'undo',
    'Undo the last set-back; what was written since it is lost',
    (command) => addWords(command).option('--no-wait', 'only start it'),
    undo,
  );
  addCommand<{ name?: string }>(
    setBack,
    'discard',
    'Discard the data from before the last set-back, and free their space',
    (command) => command.option('--name <name>', 'name of the appliance, to confirm'),
    async ({ control, output }, options) => {
      if (options.name === undefined)
        throw unconfirmed('The data from before the set-back are removed for good', '');
      await control().send('POST', '/host/set-back/discard', { name: options.name });
      output.result({ discarded: true }, 'The data from before the set-back are discarded.');
      return EXIT.ok;
    },
  );
}

/** As the appliance takes it: UTC. @throws HoldfastError `invalid_input` for no instant, or one without a zone */
function momentOf(text: string): string {
  const point = parsePoint({ time: text });
  if (point.kind !== 'time') throw new HoldfastError('internal', 'A time is no position');
  return point.at.toISOString();
}

const plain = (command: Command) => command;

function addWords(command: Command): Command {
  return command
    .option('--reason <reason>', 'why, for the audit log')
    .option('--name <name>', 'name of the appliance, to confirm; asked for on a terminal when absent');
}

export function addSetBackOptions(command: Command): Command {
  return addWords(command)
    .option('--kit <file>', 'the recovery kit; - reads it from standard input')
    .option('--accept-warnings', 'go on although something about the repository is not as it should be')
    .option('--no-wait', 'only start it');
}

/** Says what is lost, asks for what is missing, and waits until the appliance runs again. @returns the exit code. */
export async function performSetBack(
  context: CommandContext,
  point: { snapshot: string; moment?: string; target?: string },
  options: SetBackOptions,
): Promise<number> {
  const { output } = context;
  const client = context.control();
  const plan = await client.get<SetBackPlan>(
    `/host/set-back/plan?${new URLSearchParams({ ...point }).toString()}`,
  );
  const { number, takenAt } = plan.snapshot;
  output.note(
    `Back to ${plan.moment === null ? '' : `${formatInstant(plan.moment)}, from `}snapshot ${String(number)} of ${formatInstant(takenAt)}${plan.moment === null ? '' : ' on'}, on ${printable(plan.target.name)}.`,
  );
  for (const line of describeLost(plan.lost)) output.note(line);
  output.note(
    'The data in use now are kept on this machine for seven days; undo it with: holdfast set-back undo',
  );
  refuse(plan.barrier);
  const reason = requireReason(options);
  if (options.kit === undefined) {
    throw new HoldfastError('invalid_input', 'The recovery kit is needed to open the backups', {
      hint: 'Give its file with --kit, or --kit - and the kit on standard input.',
    });
  }
  const kit = await readKit(options.kit);
  const { warnings } = await client.send<CheckedSetBack>('POST', '/host/set-back/check', {
    ...point,
    kit,
  });
  for (const { message } of warnings) output.note(`Warning: ${printable(message)}`);
  const name =
    options.name ?? (await askName(plan.applianceName, 'Everything written since then goes out of use'));
  await client.send('POST', '/host/set-back', {
    ...{ ...point, kit, reason, name },
    ...(options.acceptWarnings === true ? { acceptWarnings: true } : {}),
  });
  return follow(context, options.wait, 'kept');
}

async function undo(context: CommandContext, options: SetBackOptions): Promise<number> {
  const client = context.control();
  const plan = await client.get<UndoPlan>('/host/set-back/undo');
  for (const line of describeLost(plan.lost)) context.output.note(line);
  refuse(plan.barrier);
  const reason = requireReason(options);
  const name =
    options.name ?? (await askName(plan.applianceName, 'Everything written since the set-back is lost'));
  await client.send('POST', '/host/set-back/undo', { reason, name });
  return follow(context, options.wait, 'undone');
}

function requireReason({ reason }: SetBackOptions): string {
  if (reason !== undefined) return reason;
  throw new HoldfastError('invalid_input', 'A reason is needed, for the audit log', {
    hint: 'Give it with --reason, at least ten characters.',
  });
}

/** Standard input may hold it, so that it need not lie on a disk of this machine. */
async function readKit(path: string): Promise<string> {
  if (path !== '-') return kitToJson(await readWholeKit(path));
  const { kit } = parseRecoveryKit((await readAll(process.stdin)).slice(0, MAX_KIT_CHARACTERS + 1));
  if (kit !== undefined) return kitToJson(kit);
  throw new HoldfastError('invalid_input', 'Standard input holds only the secret key of a kit', {
    hint: 'Give the whole kit: it also says which repository to trust.',
  });
}

async function askName(applianceName: string, consequence: string): Promise<string> {
  if (!process.stdin.isTTY) throw unconfirmed(consequence, ` ${JSON.stringify(applianceName)}`);
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await reader.question(`${consequence}. Type ${printable(applianceName)} to confirm: `);
  } finally {
    reader.close();
  }
}

function unconfirmed(consequence: string, name: string): HoldfastError {
  return new HoldfastError('invalid_input', consequence, {
    hint: `Confirm it with --name and the name of the appliance${name}.`,
  });
}

function refuse(barrier: SetBackPlan['barrier']): void {
  if (barrier === null) return;
  const { message, hint } = barrier;
  throw new HoldfastError('wrong_state', message, hint === undefined ? {} : { hint });
}

/** The appliance stops meanwhile, so hostd is asked; it answers root. */
async function follow(context: CommandContext, wait: boolean, good: 'kept' | 'undone'): Promise<number> {
  const { output } = context;
  const host = connectHost(context.config());
  let view = await host?.get<SetBackView>('/set-back');
  let said = '';
  while (wait && host !== undefined && view !== undefined && !isOver(view)) {
    const line = view.status.state === 'running' ? (view.status.step ?? '') : 'The appliance starts';
    if (line !== said && line !== '') output.note(line);
    said = line;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    // It may be starting anew itself.
    view = await host.get<SetBackView>('/set-back').catch(() => view);
  }
  if (view === undefined || !wait) {
    output.result({ started: true }, 'It has begun. How far it is: holdfast set-back status');
    return EXIT.ok;
  }
  output.result(view, describeView(view));
  return view.record?.state === good && view.record.problem === null ? EXIT.ok : EXIT.error;
}

function isOver({ record, status }: SetBackView): boolean {
  const settled = ['kept', 'undone', 'failed', 'discarded'].includes(record?.state ?? '');
  return settled && status.state !== 'running';
}

function describeLost({ since, files, bytes, deletions, people, acts }: SetBackPlan['lost']): string[] {
  return [
    `Everything written since ${formatInstant(since)} goes out of use:`,
    `  ${String(files)} files added or changed (${formatBytes(bytes)}), ${String(deletions)} deletions, ${String(people)} accounts of people, ${String(acts)} entries of the audit log`,
  ];
}

function describeView({ record, status }: SetBackView): string {
  if (record === null) return 'This machine was never set back.';
  const of = `snapshot ${String(record.snapshot.number)} of ${formatInstant(record.snapshot.takenAt)}`;
  const data = record.moment === undefined ? of : `${formatInstant(record.moment)}, from ${of} on`;
  const problem =
    record.problem === null
      ? []
      : [printable(`${record.problem.message}. ${record.problem.hint ?? ''}`.trim())];
  switch (record.state) {
    case 'kept':
      return [
        ...problem,
        `Set back to ${data}. The data from before are kept until ${formatInstant(record.keptUntil ?? record.at)}${record.beforeBytes === null ? '' : ` (${formatBytes(record.beforeBytes)})`}.`,
      ].join('\n');
    case 'failed':
      return [`The set-back to ${data} failed. The data from before are in use.`, ...problem].join('\n');
    case 'undone':
      return `The set-back to ${data} was undone. The data from before are in use.`;
    case 'discarded':
      return `Set back to ${data}. The data from before are discarded.`;
    default:
      return `Under way, to ${data}: ${status.step ?? 'the appliance starts'}.`;
  }
}
