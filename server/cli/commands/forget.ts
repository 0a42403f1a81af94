import type { Command } from 'commander';
import type { Static } from 'typebox';
import {
  tellHeld,
  tellLockChange,
  type RetentionPreview,
  type RetentionStatus,
  type Snapshot,
} from '../../backups/index.ts';
import type { Run } from '../../lib/run-schema.ts';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import type { ControlClient } from '../control-client.ts';
import { addPolicyOptions, policyOfOptions, type PolicyOptions } from '../policy-options.ts';
import { listSnapshots, pickSnapshot, SNAPSHOT_WORDS } from '../choose-snapshot.ts';
import { listTargets, pickTarget, TARGET_WORDS } from '../choose-target.ts';
import { addCommand } from '../command.ts';
import { formatBytes, formatInstant, type Output } from '../output.ts';
import { describeEnd, followRun, runExitCode } from '../runs.ts';

type Preview = Static<typeof RetentionPreview>;

interface Options extends PolicyOptions {
  dryRun?: boolean;
  byPolicy?: boolean;
  target?: string;
}

export function addForget(program: Command): void {
  addCommand<Options>(
    program,
    'forget',
    'Drop a snapshot; what only it needs is reclaimed by prune',
    (command) =>
      addPolicyOptions(
        command
          .argument('[snapshot]', `${SNAPSHOT_WORDS}; without it, what the policy of the target says`)
          .option('--dry-run', 'only say what would go, and why the rest stays')
          .option('--by-policy', 'carry out the policy of the target now')
          .option(
            '--target <target>',
            `only on that one: ${TARGET_WORDS}; without it a snapshot is forgotten on all, and the first has the policy`,
          ),
      ),
    async ({ control, output }, options, wanted?: string) => {
      const client = control();
      if (wanted === undefined) return forgetByPolicy(client, output, options);
      if (options.byPolicy === true || policyOfOptions(options) !== undefined) throw eitherOr();
      const snapshots = await listSnapshots(client);
      const snapshot = pickSnapshot(snapshots, wanted);
      const warnings = listWarnings(snapshots, snapshot);
      if (options.dryRun === true) {
        output.result(
          { dryRun: true, snapshot, warnings },
          [`Would forget ${describe(snapshot)}`, ...warnings].join('\n'),
        );
        return EXIT.ok;
      }
      for (const warning of warnings) output.note(warning);
      const only =
        options.target === undefined
          ? ''
          : `?targetId=${pickTarget(await listTargets(client), options.target).id}`;
      const queued = await client.send<Run>('DELETE', `/snapshots/${snapshot.id}${only}`);
      const run = await followRun(client, output, queued.id);
      output.result(
        { run, warnings },
        run.state === 'succeeded' ? `Forgot ${describe(snapshot)}` : describeEnd(run),
      );
      return runExitCode(run);
    },
  );
}

function eitherOr(): HoldfastError {
  return new HoldfastError('invalid_input', 'Either one snapshot is forgotten, or what a policy says', {
    hint: 'Try `holdfast forget 12`, `holdfast forget --dry-run --keep-daily 30`, or `holdfast forget --by-policy`.',
  });
}

/** A draft is only shown: it is saved on the page of the target, where a second person can be asked. */
async function forgetByPolicy(client: ControlClient, output: Output, options: Options): Promise<number> {
  const draft = policyOfOptions(options);
  const dryRun = options.dryRun === true;
  if (dryRun === (options.byPolicy === true) || (draft !== undefined && !dryRun)) throw eitherOr();
  const items = await listTargets(client);
  const target =
    options.target === undefined
      ? items.find((one) => one.state === 'active')
      : pickTarget(items, options.target);
  if (target === undefined)
    throw new HoldfastError('wrong_state', 'There is no target', { hint: 'Add one first.' });
  const path = `/targets/${target.id}/retention`;
  if (!dryRun) {
    const run = await followRun(client, output, (await client.send<Run>('POST', `${path}/apply`)).id);
    const waits = run.result?.waits;
    const told = typeof waits === 'string' ? `Nothing was removed. ${waits}` : tellEnd(run);
    output.result(run, run.state === 'succeeded' ? told : describeEnd(run));
    return runExitCode(run);
  }
  const policy = draft ?? (await client.get<Static<typeof RetentionStatus>>(path)).policy;
  const preview = await client.send<Preview>('POST', `${path}/preview`, { policy });
  output.result({ dryRun: true, target: target.name, ...preview }, describePreview(preview));
  return EXIT.ok;
}

function tellEnd(run: Run): string {
  const reduced = Number(run.result?.reduced ?? 0);
  const parts = reduced === 0 ? '' : `reduced ${reduced}, `;
  return `Forgot ${Number(run.result?.forgotten ?? 0)} snapshots, ${parts}deleted ${formatBytes(Number(run.result?.deletedBytes ?? 0))}`;
}

function fateOf({ keep, reducedUntil, losesLogs }: Preview['items'][number]): string {
  if (reducedUntil !== null || losesLogs) return 'reduce';
  return keep ? 'keep  ' : 'remove';
}

function describePreview(preview: Preview): string {
  const { reclaim, removes, reduces, partsGo, total, asks } = preview;
  const lines = preview.items.map(
    (one) =>
      `${fateOf(one)} ${one.number.padStart(6)}  ${formatInstant(one.takenAt)}  ${one.reasons.join('; ')}`,
  );
  const bytes = `${reclaim.exact ? '' : 'at most '}${formatBytes(reclaim.bytes)}`;
  const reduced = reduces === 0 ? '' : ` (${reduces} reduced to logs and configuration)`;
  const logs = partsGo === 0 ? '' : `, logs and configuration of ${partsGo}`;
  const end = `${removes} of ${total} would go${reduced}${logs}, ${bytes} would be freed, a day later`;
  return [
    preview.words,
    ...lines,
    end,
    ...describeLock(preview.lock),
    ...(asks === null ? [] : [`! ${asks}: a second person has to agree`]),
  ].join('\n');
}

/** What the target keeps all the same, and for how long it would lock things under a drafted policy. */
function describeLock(lock: Preview['lock']): string[] {
  if (lock === null) return [];
  const { mode, days, daysThen, heldBytes, heldUntil, exact } = lock;
  return [
    ...(heldUntil === null ? [] : [tellHeld(exact, formatBytes(heldBytes), formatInstant(heldUntil))]),
    ...(daysThen === days ? [] : [`! ${tellLockChange(mode, days, daysThen)}`]),
  ];
}

/** What a careful person would want to know before. */
function listWarnings(snapshots: readonly Snapshot[], snapshot: Snapshot): string[] {
  const others = snapshots.filter((other) => other.id !== snapshot.id && other.state !== 'forgotten');
  const warnings: string[] = [];
  if (others.length === 0) warnings.push('! It is the only snapshot.');
  else if (others.every((other) => BigInt(other.number) < BigInt(snapshot.number)))
    warnings.push('! It is the newest snapshot.');
  if (snapshot.proof !== null && others.every((other) => other.proof === null)) {
    warnings.push('! It is the only snapshot that a restore test has proven.');
  }
  return warnings;
}

function describe(snapshot: Snapshot): string {
  const targets = snapshot.targets
    .filter((target) => target.state === 'stored')
    .map((target) => target.name)
    .join(', ');
  return `snapshot ${snapshot.number} (${snapshot.id.slice(0, 12)}) of ${formatInstant(snapshot.takenAt)}, ${snapshot.fileCount} files, ${formatBytes(snapshot.sizeBytes)}, on ${targets}`;
}
