import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import type { CheckedBundle, FoundBundles, Update, UpdateOverview } from '../../appliance/index.ts';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import { addCommand, type CommandContext } from '../command.ts';
import type { ControlClient } from '../control-client.ts';
import { formatBytes, formatInstant, printable, table, type Output } from '../output.ts';
import { sendBundle } from '../send-file.ts';
import { addSetBackOptions, performSetBack, type SetBackOptions } from './set-back.ts';

const LOOK_EVERY_MS = 1_000;
/** What a person or the maintenance window has to decide is not waited for. */
const SETTLED = new Set<Update['state']>([
  'ready',
  'rebooting',
  'confirmed',
  'fell-back',
  'refused',
  'failed',
  'cancelled',
]);
const GOOD = new Set<Update['state']>(['ready', 'rebooting', 'confirmed']);

export function addUpdate(program: Command): void {
  const words = 'Versions of this machine, and the way from one to the next';
  const update = program.command('update').summary(words).description(words);
  addCheck(update);
  addInstall(update);
  addCommand(
    update,
    'status',
    'What runs, what waits, what is in the other slot',
    plain,
    async ({ control, output }) => {
      const overview = await control().get<UpdateOverview>('/host/updates');
      output.result(overview, describeOverview(overview));
      return EXIT.ok;
    },
  );
  addCommand(
    update,
    'history',
    'What was installed, and what came of it',
    plain,
    async ({ control, output }) => {
      const { history } = await control().get<UpdateOverview>('/host/updates');
      output.result({ items: history }, describeHistory(history));
      return EXIT.ok;
    },
  );
  addCommand<{ restart: string; yes?: boolean }>(
    update,
    'way-back',
    'Go back to the version in the other slot; what was written since stays',
    (command) => command.addOption(restartOption('now')).option('--yes', 'really go back, and restart'),
    async ({ control, output }, options) => {
      if (options.yes !== true) {
        throw new HoldfastError('invalid_input', 'Going back restarts the machine', {
          hint: 'Say so with --yes. Data written since the update stay; to lose them too: holdfast update set-back.',
        });
      }
      const back = await control().send<Update>('POST', '/host/updates/way-back', {
        restart: options.restart,
      });
      output.result(back, describeUpdate(back));
      return EXIT.ok;
    },
  );
  addCommand<SetBackOptions & { update?: string }>(
    update,
    'set-back',
    'Set the appliance back to the safety snapshot of an update; what was written since goes out of use',
    (command) =>
      addSetBackOptions(command.option('--update <version>', 'of the update to this version; else the last')),
    async (context, options) => {
      const { history } = await context.control().get<UpdateOverview>('/host/updates');
      return performSetBack(context, { snapshot: safetySnapshotOf(history, options.update) }, options);
    },
  );
  addCommand(update, 'cancel', 'Give up the update under way', plain, async ({ control, output }) => {
    const client = control();
    const { current } = await client.get<UpdateOverview>('/host/updates');
    if (current === null) throw new HoldfastError('wrong_state', 'No update is under way');
    const cancelled = await client.send<Update>('POST', `/host/updates/${current.id}/cancel`, {});
    output.result(cancelled, describeUpdate(cancelled));
    return EXIT.ok;
  });
}

const plain = (command: Command) => command;

/** @throws HoldfastError `not_found` */
function safetySnapshotOf(history: readonly Update[], version: string | undefined): string {
  const found = history.find(
    (one) => one.safetySnapshotId !== null && (version === undefined || one.version === version),
  );
  if (found?.safetySnapshotId != null) return found.safetySnapshotId;
  throw new HoldfastError('not_found', 'No update with a safety snapshot is in the history', {
    hint: '`holdfast set-back to` goes to any snapshot; `holdfast snapshots` lists them.',
  });
}

function restartOption(byDefault: string): Option {
  return new Option('--restart <when>', 'when the machine restarts')
    .choices(['now', 'window', 'manual'])
    .default(byDefault);
}

function addCheck(update: Command): void {
  addCommand<{ authority?: string }>(
    update,
    'check',
    'Look whether an update may be installed: a file, an https address, or what lies in the folder for updates',
    (command) =>
      command
        .argument('[bundle]', 'file or https address of a bundle')
        .option('--authority <file>', 'certificate (PEM) of the authority that signed the address'),
    async (context, options, bundle?: string) => {
      const { output } = context;
      if (bundle === undefined) {
        const found = await context.control().send<FoundBundles>('POST', '/host/updates/check', {});
        output.result(found, describeFound(found));
        if (found.refused.length === 0) return EXIT.ok;
        return found.items.length > 0 ? EXIT.partial : EXIT.error;
      }
      const checked = await bring(context, bundle, options.authority);
      output.result(checked, describeBundle(checked));
      return checked.installable ? EXIT.ok : EXIT.error;
    },
  );
}

interface InstallOptions {
  authority?: string;
  restart: string;
  wait: boolean;
  skipRehearsal?: string;
}

function addInstall(update: Command): void {
  addCommand<InstallOptions>(
    update,
    'install',
    'Rehearse an update on a restored copy, take a safety snapshot, and install it into the other slot',
    (command) =>
      command
        .argument('<bundle>', 'file, https address, or a version or SHA-256 of `holdfast update status`')
        .option('--authority <file>', 'certificate (PEM) of the authority that signed the address')
        .addOption(restartOption('window'))
        .option('--no-wait', 'only start it')
        .option('--skip-rehearsal <reason>', 'without rehearsal and safety snapshot; the reason is kept'),
    async (context, options, wanted = '') => {
      const client = context.control();
      const bundle = await choose(context, client, wanted, options.authority);
      const requested = await client.send<Update>('POST', '/host/updates/install', {
        sha256: bundle.sha256,
        restart: options.restart,
        ...(options.skipRehearsal === undefined ? {} : { skipReason: options.skipRehearsal }),
      });
      const ended = options.wait ? await follow(client, context.output, requested.id) : requested;
      context.output.result(ended, describeUpdate(ended));
      return !options.wait || GOOD.has(ended.state) ? EXIT.ok : EXIT.error;
    },
  );
}

async function choose(
  context: CommandContext,
  client: ControlClient,
  wanted: string,
  authority: string | undefined,
): Promise<CheckedBundle> {
  const { bundles } = await client.get<UpdateOverview>('/host/updates');
  const there = bundles.filter((bundle) => bundle.version === wanted || bundle.sha256 === wanted);
  return there.at(-1) ?? bring(context, wanted, authority);
}

/** Hands a file or an address to the appliance. */
async function bring(
  context: CommandContext,
  wanted: string,
  authority: string | undefined,
): Promise<CheckedBundle> {
  if (wanted.startsWith('https://')) {
    const certificateAuthority = authority === undefined ? undefined : await readFile(authority, 'utf8');
    return context.control().send('POST', '/host/updates/fetch', {
      url: wanted,
      ...(certificateAuthority === undefined ? {} : { certificateAuthority }),
    });
  }
  const path = resolve(wanted);
  const bar = context.output.progress();
  try {
    return await sendBundle(context.config().dataDir, {
      path,
      progress: (done, total) => bar.update(done, total, `sending ${formatBytes(done)}`),
    });
  } finally {
    bar.stop();
  }
}

async function follow(client: ControlClient, output: Output, id: string): Promise<Update> {
  let said = '';
  for (;;) {
    const { history } = await client.get<UpdateOverview>('/host/updates');
    const update = history.find((one) => one.id === id);
    if (update === undefined)
      throw new HoldfastError('not_found', 'The update is not in the history any more');
    if (SETTLED.has(update.state)) return update;
    const line = `${WORDS[update.state]}${update.state === 'installing' ? ` ${String(update.progress)} %` : ''}`;
    if (line !== said) output.note(line);
    said = line;
    await new Promise((resolve_) => setTimeout(resolve_, LOOK_EVERY_MS));
  }
}

const WORDS: Record<Update['state'], string> = {
  rehearsing: 'Rehearsing on a restored copy',
  snapshot: 'Taking the safety snapshot',
  installing: 'Installing into the other slot',
  ready: 'Installed; waits for the restart',
  rebooting: 'Restarting',
  confirmed: 'Runs',
  'fell-back': 'Gone back to the version before',
  refused: 'Refused',
  failed: 'Failed',
  cancelled: 'Cancelled',
};

function describeUpdate(update: Update): string {
  const lines = [`${update.fromVersion} to ${update.version}: ${WORDS[update.state]}`];
  if (update.rehearsal !== null) {
    const { applied, durationMs } = update.rehearsal;
    lines.push(`Rehearsed: ${String(applied.length)} migrations in ${(durationMs / 1000).toFixed(1)} s`);
  }
  if (update.safetySnapshotId !== null)
    lines.push(`Safety snapshot: ${update.safetySnapshotId.slice(0, 12)}`);
  if (update.rebootAt !== null) lines.push(`Restarts at ${formatInstant(update.rebootAt)}`);
  if (update.message !== null) lines.push(printable(update.message));
  return lines.join('\n');
}

function describeBundle(bundle: CheckedBundle): string {
  const head = `${bundle.version}  ${formatBytes(bundle.sizeBytes)}  signed by ${printable(bundle.signedBy ?? 'a known key')}`;
  return `${head}\n${bundle.installable ? `Install it with: holdfast update install ${bundle.version}` : printable(bundle.reason ?? '')}`;
}

function describeFound(found: FoundBundles): string {
  const lines = found.items.map(describeBundle);
  for (const { name, reason } of found.refused) lines.push(`! ${printable(name)}: ${printable(reason)}`);
  return lines.length === 0 ? 'No update lies in the folder for updates.' : lines.join('\n');
}

function describeOverview(overview: UpdateOverview): string {
  const lines = [`Version ${overview.version} runs`];
  for (const slot of overview.slots) {
    const marks = [slot.booted ? 'runs' : '', slot.primary ? 'next start' : '', slot.good ? '' : 'not good'];
    lines.push(
      `Slot ${slot.name}  ${slot.version ?? '-'}  ${marks.filter((mark) => mark !== '').join(', ')}`,
    );
  }
  for (const bundle of overview.bundles)
    lines.push(`Waits: ${bundle.version}${bundle.installable ? '' : `  ${printable(bundle.reason ?? '')}`}`);
  if (overview.current !== null) lines.push(describeUpdate(overview.current));
  if (overview.wayBack !== null) lines.push(`Way back: ${overview.wayBack.version}`);
  return lines.join('\n');
}

function describeHistory(history: readonly Update[]): string {
  if (history.length === 0) return 'Nothing was installed since the first image.';
  return table(
    ['when', 'from', 'to', 'what', 'came of it'],
    history.map((one) => [
      formatInstant(one.requestedAt),
      one.fromVersion,
      one.version,
      one.kind,
      `${one.state}${one.message === null ? '' : `: ${printable(one.message)}`}`,
    ]),
  );
}
