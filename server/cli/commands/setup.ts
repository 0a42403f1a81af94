import type { Command } from 'commander';
import type { ApplianceSettings, SetupState } from '../../appliance/index.ts';
import type { Schedule, TargetReply } from '../../backups/index.ts';
import { EXIT } from '../../lib/errors.ts';
import type { Run } from '../../lib/run-schema.ts';
import { addCommand, type CommandContext } from '../command.ts';
import { checkVolumeAnswers } from '../setup-volume.ts';
import { makeKit } from '../setup-kit.ts';
import { installCertificate } from '../setup-certificate.ts';
import { findTargetPlace, readTargetRequest } from '../setup-target.ts';
import type { AssertionList, RestoreTestSettings } from '../../restore-tests/index.ts';
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
  const path = await findTargetPlace(work);
  await makeKit(work, path);
  await addTarget(work, path);
  await setSchedules(work);
  await setProofs(work);
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

async function addTarget(work: SetupWork, path: string): Promise<void> {
  const { items } = await work.client.get<{ items: TargetReply[] }>('/targets');
  const present = items.find((target) => target.state === 'active' && target.location === path);
  if (present !== undefined) return tell(work, 'target', 'already');
  const wanted = await readTargetRequest(work.file.target, path);
  const added = await work.client.send<TargetReply>('POST', '/targets', wanted);
  tell(work, 'target', 'done', added.label ?? undefined);
}

const SCHEDULE_NAMES = {
  snapshot: 'snapshot',
  restoreTest: 'restore-test',
  fullRestoreTest: 'restore-test-full',
  recoveryDrill: 'restore-drill',
  readBack: 'verify',
} as const;

async function setSchedules(work: SetupWork): Promise<void> {
  const { items } = await work.client.get<{ items: Schedule[] }>('/schedules');
  let changed = false;
  for (const key of Object.keys(SCHEDULE_NAMES) as (keyof typeof SCHEDULE_NAMES)[]) {
    const present = items.find((schedule) => schedule.name === SCHEDULE_NAMES[key]);
    const cron = work.file.schedules?.[key] ?? present?.cron;
    const days = key === 'readBack' ? work.file.schedules?.readBackDays : undefined;
    const same = present?.cron === cron && (days === undefined || days === present?.days);
    if (cron === undefined || (present?.enabled === true && same)) continue;
    const change = { cron, enabled: true, ...(days === undefined ? {} : { days }) };
    await work.client.send('PUT', `/schedules/${SCHEDULE_NAMES[key]}`, change);
    changed = true;
  }
  tell(work, 'schedules', changed ? 'done' : 'already');
}

async function setProofs(work: SetupWork): Promise<void> {
  const { objectives, assertions = [] } = work.file;
  if (objectives !== undefined) {
    const present = await work.client.get<RestoreTestSettings>('/settings/restore-tests');
    await work.client.send('PUT', '/settings/restore-tests', { ...present, ...objectives });
    tell(work, 'objectives', 'done');
  }
  if (assertions.length === 0) return;
  const { items } = await work.client.get<AssertionList>('/restore-tests/assertions');
  const missing = assertions.filter(({ name }) => !items.some((item) => item.name === name));
  for (const assertion of missing) {
    await work.client.send('POST', '/restore-tests/assertions', {
      runsIn: 'every',
      enabled: true,
      ...assertion,
    });
  }
  tell(work, 'assertions', missing.length > 0 ? 'done' : 'already');
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
