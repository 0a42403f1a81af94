import { readdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Command } from 'commander';
import type {
  ApplianceSettings,
  BeginKitReply,
  RecoveryKit as KitRow,
  SetupState,
} from '../../appliance/index.ts';
import type { Schedule, TargetReply } from '../../backups/index.ts';
import {
  answerKitChallenge,
  encryptAge,
  generateAgeIdentity,
  kitToJson,
  makeRecoveryKit,
} from '../../keys/index.ts';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import { writeFileDurably, syncDirectory } from '../../lib/files.ts';
import type { Run } from '../../lib/run-schema.ts';
import { addCommand, type CommandContext } from '../command.ts';
import { checkVolumeAnswers, giveVolumeItsKey, makeVolumeKey } from '../setup-volume.ts';
import { installCertificate } from '../setup-certificate.ts';
import { findTargetPath } from '../setup-share.ts';
import { tell, type SetupWork } from '../setup-work.ts';
import { startKitTest } from '../kit-test.ts';
import { followRun, runExitCode } from '../runs.ts';
import { readSecretFile, readSecretFromEnvironment } from '../secrets.ts';
import { readSetupFile } from '../setup-file.ts';

interface Options {
  config: string;
}

export function addSetup(program: Command): void {
  addCommand<Options>(
    program,
    'setup',
    'Set up a fresh appliance from a file; may be run again',
    (command) => command.requiredOption('--config <file>', 'YAML or JSON; see server/cli/setup.example.yaml'),
    (context, options) => setUp(context, options.config),
  );
}

async function setUp({ control, output }: CommandContext, setupFile: string): Promise<number> {
  const work: SetupWork = {
    file: await readSetupFile(setupFile),
    client: control(),
    output,
    report: [],
    kit: undefined,
  };
  await checkVolumeAnswers(work);
  const state = await work.client.get<SetupState>('/setup');
  await claim(work, state);
  await nameAppliance(work);
  await installCertificate(work);
  const path = await findTargetPath(work);
  await makeKit(work, path);
  await addTarget(work, path);
  await setSchedules(work);
  const exitCode = await firstRuns(work);
  output.result(
    { steps: work.report },
    work.report
      .map(
        (step) => `${step.outcome.padEnd(8)} ${step.step}${step.note === undefined ? '' : `: ${step.note}`}`,
      )
      .join('\n'),
  );
  return exitCode;
}

async function claim(work: SetupWork, state: SetupState): Promise<void> {
  if (state.claimed) return tell(work, 'owner', 'already');
  const { name, email, passwordFile, passwordVariable } = work.file.owner;
  const password =
    passwordFile === undefined
      ? readSecretFromEnvironment(passwordVariable ?? '')
      : await readSecretFile(passwordFile);
  await work.client.send('POST', '/console/claim', { owner: { name, email, password } });
  tell(work, 'owner', 'done');
}

async function nameAppliance(work: SetupWork): Promise<void> {
  const wanted = work.file.appliance;
  const present = await work.client.get<ApplianceSettings>('/settings/appliance');
  const same =
    present.name === wanted.name &&
    present.stage === wanted.stage &&
    present.region === wanted.region &&
    [...present.allowedRegions].sort().join() === [...new Set(wanted.allowedRegions)].sort().join();
  if (same) return tell(work, 'appliance', 'already');
  await work.client.send('PUT', '/settings/appliance', wanted);
  tell(work, 'appliance', 'done');
}

/**
 * The encrypted kit is on the disk before it is proven, under a name that says it is not; so there never is a proven kit
 * that nobody holds, however this ends.
 */
async function makeKit(work: SetupWork, path: string): Promise<void> {
  const { file, recipient } = work.file.kit;
  const { items } = await work.client.get<{ items: KitRow[] }>('/recovery-kits');
  const waiting = await findUnprovenFiles(file);
  const finished = waiting.find((entry) => items.some((kit) => kit.id === entry.kitId));
  if (finished !== undefined) {
    await publish(finished.path, file);
    return tell(work, 'recovery kit', 'done', `${file}, finished from an earlier run`);
  }
  if (items.length > 0) return tell(work, 'recovery kit', 'already');
  const made = await generateAgeIdentity();
  const begun = await work.client.send<BeginKitReply>('POST', '/recovery-kits', {
    recipient: made.recipient,
  });
  const { name, kind } = work.file.target;
  const volumeRecoveryKey = await makeVolumeKey(work.client);
  const kit = makeRecoveryKit({
    ...begun,
    ageIdentity: made.identity,
    volumeRecoveryKey,
    targets: [{ name, kind, location: path }],
  });
  const unproven = `${file}.${begun.kitId}.unproven`;
  const sealed = await encryptAge(Buffer.from(kitToJson(kit)), [recipient]);
  await writeFileDurably(unproven, sealed, { exclusive: true });
  if (volumeRecoveryKey !== null) await giveVolumeItsKey(work, begun.kitId, volumeRecoveryKey);
  const response = await answerKitChallenge(begun.kitId, made.identity, begun.challenge);
  await work.client.send('POST', `/recovery-kits/${begun.kitId}/proof`, { response });
  await publish(unproven, file);
  work.kit = { id: begun.kitId, identity: made.identity };
  tell(
    work,
    'recovery kit',
    'done',
    `${file}, encrypted to ${recipient.slice(0, 16)}…; move it away from this machine`,
  );
}

async function findUnprovenFiles(file: string): Promise<{ path: string; kitId: string }[]> {
  const names = await readdir(dirname(file)).catch((cause: unknown) => {
    throw new HoldfastError(
      'invalid_input',
      `The folder for the recovery kit cannot be read: ${dirname(file)}`,
      { cause },
    );
  });
  const prefix = `${basename(file)}.`;
  return names
    .filter((name) => name.startsWith(prefix) && name.endsWith('.unproven'))
    .map((name) => ({
      path: join(dirname(file), name),
      kitId: name.slice(prefix.length, -'.unproven'.length),
    }));
}

async function publish(unproven: string, file: string): Promise<void> {
  await rename(unproven, file);
  await syncDirectory(dirname(file));
}

async function addTarget(work: SetupWork, path: string): Promise<void> {
  const { items } = await work.client.get<{ items: TargetReply[] }>('/targets');
  const wanted = { ...work.file.target, path };
  const present = items.find((target) => target.state === 'active' && target.location === path);
  if (present !== undefined) return tell(work, 'target', 'already');
  const added = await work.client.send<TargetReply>('POST', '/targets', wanted);
  tell(work, 'target', 'done', added.label ?? undefined);
}

const SCHEDULE_NAMES = { snapshot: 'snapshot', restoreTest: 'restore-test' } as const;

async function setSchedules(work: SetupWork): Promise<void> {
  const { items } = await work.client.get<{ items: Schedule[] }>('/schedules');
  let changed = false;
  for (const key of ['snapshot', 'restoreTest'] as const) {
    const present = items.find((schedule) => schedule.name === SCHEDULE_NAMES[key]);
    const cron = work.file.schedules?.[key] ?? present?.cron;
    if (cron === undefined || (present?.enabled === true && present.cron === cron)) continue;
    await work.client.send('PUT', `/schedules/${SCHEDULE_NAMES[key]}`, { cron, enabled: true });
    changed = true;
  }
  tell(work, 'schedules', changed ? 'done' : 'already');
}

async function firstRuns(work: SetupWork): Promise<number> {
  const { steps } = await work.client.get<SetupState>('/setup');
  if (work.file.firstSnapshot === true && steps?.snapshot !== true) {
    const queued = await work.client.send<Run>('POST', '/snapshots');
    const run = await followRun(work.client, work.output, queued.id);
    if (run.state !== 'succeeded') {
      tell(work, 'first snapshot', 'failed', run.error?.message ?? run.state);
      return runExitCode(run);
    }
    tell(work, 'first snapshot', 'done');
  } else tell(work, 'first snapshot', steps?.snapshot === true ? 'already' : 'skipped');
  return firstTest(work, steps?.restoreTest === true);
}

async function firstTest(work: SetupWork, tested: boolean): Promise<number> {
  if (work.file.firstRestoreTest !== true || tested) {
    tell(work, 'first restore test', tested ? 'already' : 'skipped');
    return EXIT.ok;
  }
  if (work.kit === undefined) {
    tell(
      work,
      'first restore test',
      'skipped',
      'the kit was made earlier; run: holdfast restore-test --kit FILE',
    );
    return EXIT.ok;
  }
  const started = await startKitTest(work.client, {
    kitId: work.kit.id,
    identity: work.kit.identity,
    mode: 'quick',
  });
  const run = await followRun(work.client, work.output, started.runId);
  tell(work, 'first restore test', run.state === 'succeeded' ? 'done' : 'failed', run.error?.message);
  return runExitCode(run);
}
