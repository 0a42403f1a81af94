/**
 * `npm run test:vm`: boots the built image as a customer would and walks through its life, unattended. Each step has a
 * deadline, writes its time into a report, and the first that fails ends the walk with the console's last words.
 *
 * Options: --image FILE (default .cache/image/out/*.qcow2), --image-work FOLDER (where it was built, default .cache/image), --work FOLDER (default .cache/vm), --from STEP (goes on with
 * the disks of the walk before, started again), --until STEP, --debug (a root shell
 * on a second serial line, for images built with --debug-console), --hold (machines run on after the last step, until Ctrl-C), --install-needs.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { checkNeeds, TEST_NEEDS } from '../../scripts/image/needs.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import { must } from './machine.ts';
import type { Walk, WalkNote } from './walk.ts';

const project = resolve(import.meta.dirname, '..', '..');
const { values: options } = parseArgs({
  options: {
    image: { type: 'string' },
    work: { type: 'string', default: join(project, '.cache', 'vm') },
    'image-work': { type: 'string', default: join(project, '.cache', 'image') },
    from: { type: 'string' },
    until: { type: 'string' },
    debug: { type: 'boolean', default: false },
    hold: { type: 'boolean', default: false },
    'install-needs': { type: 'boolean', default: false },
    inside: { type: 'boolean', default: false },
  },
});

if (options.inside) {
  await walk();
} else {
  await checkNeeds(options['install-needs'], TEST_NEEDS);
  // A network namespace of its own: no way out, and no address in it that could be somebody else's.
  const child = startProcess(
    'unshare',
    ['--net', '--', process.execPath, import.meta.filename, '--inside', ...process.argv.slice(2)],
    { stdio: 'inherit' },
  );
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
  process.exitCode = (await endOf(child)).exitCode ?? 1;
}

interface StepReport {
  name: string;
  seconds: number;
  facts: Record<string, unknown>;
  error?: string;
}

async function walk(): Promise<void> {
  const folder = resolve(options.work);
  const noteFile = join(folder, 'walk.json');
  const note =
    options.from === undefined ? undefined : (JSON.parse(readFileSync(noteFile, 'utf8')) as WalkNote);
  if (note === undefined) rmSync(folder, { recursive: true, force: true });
  else process.env.WALK_MARK = note.mark;
  mkdirSync(folder, { recursive: true });
  // Words of the walk are chosen when these are loaded.
  const { STEPS } = await import('./steps.ts');
  const { noteWalk, resumeWalk } = await import('./walk.ts');
  await must('ip', ['link', 'set', 'lo', 'up']);
  const state: Walk = {
    folder,
    image: resolve(options.image ?? builtImage()),
    imageWork: resolve(options['image-work']),
    debug: options.debug,
    machines: [],
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      void Promise.all(state.machines.map((machine) => machine.cutPower())).then(() => process.exit(1));
    });
  }
  const reports: StepReport[] = [];
  const startedAt = performance.now();
  const begin = options.from === undefined ? 0 : STEPS.findIndex(({ name }) => name === options.from);
  const steps = STEPS.slice(begin);
  if (begin < 0) throw new Error(`There is no step ${options.from ?? ''}`);
  if (note !== undefined) await resumeWalk(state, note, steps[0]?.begins);
  for (const step of steps) {
    const report: StepReport = { name: step.name, seconds: 0, facts: {} };
    reports.push(report);
    process.stdout.write(`${step.name} … `);
    const stepStartedAt = performance.now();
    try {
      report.facts = (await step.act(state)) ?? {};
      writeFileSync(noteFile, JSON.stringify(noteWalk(state) ?? {}));
    } catch (error) {
      report.error = error instanceof Error ? error.message : String(error);
    }
    report.seconds = Math.round((performance.now() - stepStartedAt) / 100) / 10;
    const outcome = report.error === undefined ? 'ok' : 'FAILED';
    process.stdout.write(`${outcome} (${report.seconds} s) ${JSON.stringify(report.facts)}\n`);
    if (report.error !== undefined) {
      const words = state.machines.at(-1)?.serial().slice(-4_000) ?? '';
      process.stderr.write(`${report.error}\n--- the console's last words\n${words}\n`);
      break;
    }
    if (step.name === options.until) break;
  }
  if (options.hold) {
    process.stdout.write('The machines run on until Ctrl-C\n');
    await new Promise<never>(() => setInterval(() => undefined, 60_000));
  }
  const resets = state.machines.reduce((sum, machine) => sum + machine.resets(), 0);
  for (const machine of state.machines) if (machine.running()) await machine.cutPower();
  finish(reports, { seconds: (performance.now() - startedAt) / 1000, resets, folder });
}

function builtImage(): string {
  const out = join(project, '.cache', 'image', 'out');
  const name = existsSync(out) ? readdirSync(out).find((file) => file.endsWith('.qcow2')) : undefined;
  if (name === undefined)
    throw new Error(`No image in ${out}: run scripts/build-image first, or name one with --image.`);
  return join(out, name);
}

interface WalkEnd {
  seconds: number;
  /** Of machines whose emulated processor lost a timer. */
  resets: number;
  folder: string;
}

function finish(reports: StepReport[], { seconds, resets, folder }: WalkEnd): void {
  const failed = reports.filter((report) => report.error !== undefined).length;
  const report = { seconds: Math.round(seconds), resets, loadAverage: loadavg(), steps: reports };
  writeFileSync(join(folder, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
  process.stdout.write(`Report: ${join(folder, 'report.json')}, ${report.seconds} s\n`);
  if (resets > 0) process.stdout.write(`Resets after the emulator lost a timer: ${resets}\n`);
  process.stdout.write(`${reports.length - failed} passed, ${failed} failed\n`);
  process.exitCode = failed === 0 ? 0 : 1;
}
