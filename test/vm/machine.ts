/**
 * A virtual machine for tests: QEMU with its disks, a serial log, a TPM in software, a network card on a tap device, and the
 * means to end it as a person or a power cut would. Every wait has a deadline, every process is ended by its own id.
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { endOf, runProcess, startProcess, type ChildProcess } from '../../server/lib/spawn.ts';
import { waitFor } from '../helpers/wait-for.ts';

export interface MachineOptions {
  /** Folder of its own: sockets and logs. */
  folder: string;
  /** Disks in order, qcow2; the first is the system's. */
  disks: readonly string[];
  /** Tap device that exists. */
  tap: string;
  /** NoCloud seed, as an ISO file. */
  seed?: string;
  /** State folder of a software TPM; it is made when missing. */
  tpmState?: string;
  memoryMib?: number;
  /** A second serial line, as a socket beside the others: root's shell on an image built with --debug-console. */
  debug?: boolean;
  /** Firmware file for UEFI; without it the machine starts by BIOS. */
  uefi?: string;
}

export interface VirtualMachine {
  /** Everything the serial console said so far. */
  serial(): string;
  /** Waits until the console has said something that matches. */
  serialSays(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray>;
  /** Types at the serial console. */
  type(text: string): void;
  /** Asks the machine to shut down, as its power button does, and waits. */
  shutDown(timeoutMs: number): Promise<void>;
  /** Waits until it has shut down by itself. */
  wentDown(timeoutMs: number): Promise<void>;
  /** Ends it at once: what was not written is lost. */
  cutPower(): Promise<void>;
  /** A picture of the screen, as PPM. */
  screenshot(file: string): Promise<void>;
  /** Memory that is in use and could not be given to something else, as the machine itself counts it. */
  usedMib(): Promise<number>;
  running(): boolean;
  /** How often it was reset because the emulator lost a timer while it started, see `LOST_TIMER`. */
  resets(): number;
}

/**
 * QEMU 10.0 emulating several processors now and then loses the first timer interrupt of one of them. Linux waits for it for ever:
 * each grace period of RCU then takes 21 s, and a start half an hour. Real processors and hypervisors do not do that, so
 * such a machine is reset while it is still starting, and the walk says so.
 */
const LOST_TIMER = /\[ *(\d+)\.\d+\] rcu: rcu_preempt kthread timer wakeup didn't happen/;
const STILL_STARTING_SECONDS = 60;

const BALLOON = '/machine/peripheral/balloon0';

let started = 0;

export async function startMachine(options: MachineOptions): Promise<VirtualMachine> {
  mkdirSync(options.folder, { recursive: true });
  started += 1;
  const at = (name: string) => join(options.folder, `${started}-${name}`);
  const places = { log: at('serial.log'), console: at('console.sock'), control: at('qmp.sock') };
  for (const path of Object.values(places)) rmSync(path, { force: true });
  const tpm = options.tpmState === undefined ? undefined : await startTpm(options.tpmState, at('tpm.sock'));
  const child = startProcess('qemu-system-x86_64', machineArgs(options, places, tpm?.socket), {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const state = { over: false, complaint: '' };
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (state.complaint += text));
  const ended = endOf(child).then(() => (state.over = true));
  await waitFor('QEMU to open its sockets', () => {
    if (state.over) throw new Error(`QEMU ended: ${state.complaint}`);
    return existsSync(places.control) && existsSync(places.console);
  });
  const control = await openControl(places.control);
  const line = createConnection(places.console);
  line.on('error', () => undefined).resume();
  const leave = async () => {
    await ended;
    line.destroy();
    control.close();
    tpm?.child.kill();
  };
  const wentDown = async (timeoutMs: number) => {
    await waitFor('the machine to shut down', () => state.over, timeoutMs);
    await leave();
  };
  const serial = () => (existsSync(places.log) ? readFileSync(places.log, 'latin1') : '');
  const watched = { from: 0, resets: 0 };
  const watch = setInterval(() => {
    const said = serial();
    const uptime = Number(LOST_TIMER.exec(said.slice(watched.from))?.[1]);
    if (!(uptime < STILL_STARTING_SECONDS)) return;
    watched.from = said.length;
    watched.resets += 1;
    void control.ask('system_reset');
  }, 1_000);
  void ended.then(() => clearInterval(watch));
  return {
    serial,
    resets: () => watched.resets,
    serialSays: (pattern, timeoutMs) =>
      waitFor(
        `the console to say ${pattern.source}`,
        () => {
          const match = pattern.exec(serial());
          if (match === null && state.over) throw new Error(`The machine ended before ${pattern.source}`);
          return match ?? undefined;
        },
        timeoutMs,
      ),
    type: (text) => void line.write(text),
    async shutDown(timeoutMs) {
      await control.ask('system_powerdown');
      await wentDown(timeoutMs);
    },
    wentDown,
    async cutPower() {
      child.kill('SIGKILL');
      await leave();
    },
    async screenshot(file) {
      await control.ask('screendump', { filename: file });
    },
    async usedMib() {
      await control.ask('qom-set', { path: BALLOON, property: 'guest-stats-polling-interval', value: 1 });
      return waitFor('the machine to tell of its memory', async () => {
        const { stats } = (await control.ask('qom-get', { path: BALLOON, property: 'guest-stats' })) as {
          stats: Record<string, number>;
        };
        const [total = 0, available = 0] = [stats['stat-total-memory'], stats['stat-available-memory']];
        return total > 0 && available > 0 ? Math.round((total - available) / 1024 ** 2) : undefined;
      });
    },
    running: () => !state.over,
  };
}

function machineArgs(
  options: MachineOptions,
  places: { log: string; console: string; control: string },
  tpm: string | undefined,
): string[] {
  const disks = options.disks.flatMap((path, index) => [
    ...['-drive', `file=${path},if=none,id=disk${index},format=qcow2,discard=unmap,cache=writeback`],
    ...['-device', `virtio-blk-pci,drive=disk${index},serial=disk${index}`],
  ]);
  const args = [
    // Emulated, copying and clearing byte by byte (what erms and its kin say is fast) is eight times as slow as by words.
    // QEMU 7 panics guests with more than one thread; build-image asks for 10.
    ...[
      '-machine',
      'q35',
      '-accel',
      'tcg,thread=multi',
      '-cpu',
      'max,-erms,-fsrm,-fzrm,-fsrs,-fsrc',
      '-smp',
      '2',
    ],
    ...['-m', String(options.memoryMib ?? 2048), '-display', 'none', '-vga', 'std'],
    ...['-no-user-config', '-nodefaults', '-device', 'virtio-rng-pci', ...disks],
    ...['-device', 'virtio-balloon-pci,id=balloon0'],
    ...['-netdev', `tap,id=net0,ifname=${options.tap},script=no,downscript=no`],
    ...['-device', `virtio-net-pci,netdev=net0,mac=${macOf(options.tap)}`],
    ...['-chardev', `socket,id=line,path=${places.console},server=on,wait=off,logfile=${places.log}`],
    ...['-serial', 'chardev:line', '-qmp', `unix:${places.control},server=on,wait=off`],
  ];
  if (options.debug === true)
    for (const [option, name] of [
      ['-serial', 'shell'],
      ['-monitor', 'monitor'],
    ] as const)
      args.push(option, `unix:${places.console.replace('console', name)},server=on,wait=off`);
  if (options.uefi !== undefined) args.push('-bios', options.uefi);
  if (options.seed !== undefined)
    args.push('-drive', `file=${options.seed},if=virtio,format=raw,readonly=on`);
  if (tpm !== undefined) {
    args.push('-chardev', `socket,id=tpm,path=${tpm}`, '-tpmdev', 'emulator,id=tpm0,chardev=tpm');
    args.push('-device', 'tpm-crb,tpmdev=tpm0');
  }
  return args;
}

/** The same for the same tap device. */
export function macOf(tap: string): string {
  return `52:54:00:0f:00:${Number(/\d+$/.exec(tap)?.[0] ?? 0)
    .toString(16)
    .padStart(2, '0')}`;
}

/** swtpm ends with the machine that used it; its state stays in the folder. */
async function startTpm(state: string, socket: string): Promise<{ child: ChildProcess; socket: string }> {
  mkdirSync(state, { recursive: true });
  rmSync(socket, { force: true });
  const args = ['socket', '--tpm2', '--tpmstate', `dir=${state}`, '--ctrl', `type=unixio,path=${socket}`];
  const child = startProcess('swtpm', args, { stdio: 'ignore' });
  await waitFor('the software TPM', () => existsSync(socket));
  return { child, socket };
}

interface Control {
  ask(command: string, args?: object): Promise<unknown>;
  close(): void;
}

interface Answer {
  return?: unknown;
  error?: { desc: string };
}

/** QEMU's machine protocol: one JSON object a line, an answer for each command, events between. */
async function openControl(path: string): Promise<Control> {
  const socket: Socket = createConnection(path);
  const waiting: ((answer: Answer) => void)[] = [];
  let rest = '';
  socket.on('error', () => undefined);
  socket.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const message = JSON.parse(line) as Answer;
      if ('return' in message || message.error !== undefined) waiting.shift()?.(message);
    }
  });
  const ask = async (command: string, args?: object) => {
    const answer = await new Promise<Answer>((resolve) => {
      waiting.push(resolve);
      socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    });
    if (answer.error !== undefined) throw new Error(`QEMU: ${answer.error.desc}`);
    return answer.return;
  };
  await ask('qmp_capabilities');
  return { ask, close: () => socket.destroy() };
}

/** A disk whose changes stay in a file of their own: the image under it is never touched. */
export async function overlayOf(image: string, overlay: string): Promise<string> {
  rmSync(overlay, { force: true });
  await must('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', image, '-F', 'qcow2', overlay]);
  return overlay;
}

export async function blankDisk(path: string, gibibytes: number): Promise<string> {
  rmSync(path, { force: true });
  await must('qemu-img', ['create', '-q', '-f', 'qcow2', path, `${gibibytes}G`]);
  return path;
}

/** A disk that holds an ext4 file system with the given id, as one that an administrator attached. */
export async function diskWithFileSystem(path: string, gibibytes: number, uuid: string): Promise<string> {
  const raw = `${path}.raw`;
  rmSync(raw, { force: true });
  await must('mke2fs', ['-q', '-t', 'ext4', '-U', uuid, raw, `${gibibytes}G`]);
  await must('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path]);
  rmSync(raw);
  return path;
}

/** @throws Error with what the program said when it fails. */
export async function must(command: string, args: readonly string[], timeoutMs = 600_000): Promise<string> {
  const result = await runProcess(command, args, { timeoutMs, maxOutputBytes: 4_000_000 });
  if (result.exitCode !== 0) throw new Error(`${command} ${args.join(' ')}: ${result.stderr}`);
  return result.stdout;
}
