/**
 * A virtual machine for tests: QEMU with its disks, a serial log, forwarded ports on loopback, a TPM in software, and the
 * means to end it as a person or a power cut would. Every wait has a deadline, every process is ended by its own id.
 */
import { createConnection, type Socket } from 'node:net';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { endOf, runProcess, startProcess, type ChildProcess } from '../../server/lib/spawn.ts';
import { waitFor } from '../helpers/wait-for.ts';

export interface MachineOptions {
  /** Folder of its own: sockets, logs, overlays. */
  folder: string;
  /** Disks in order, qcow2. */
  disks: readonly string[];
  /** Guest ports, each forwarded from a free loopback port. */
  ports?: readonly number[];
  /** NoCloud seed, as an ISO file. */
  seed?: string;
  /** State folder of a software TPM; it is made when missing. */
  tpmState?: string;
  memoryMib?: number;
  /** Firmware file for UEFI; without it the machine starts by BIOS. */
  uefi?: string;
}

export interface VirtualMachine {
  /** Loopback port that leads to a guest port. */
  port(guest: number): number;
  /** Everything the serial console said so far. */
  serial(): string;
  /** Waits until the console has said something that matches. */
  serialSays(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray>;
  /** Types at the serial console. */
  type(text: string): void;
  /** Asks the machine to shut down, as its power button does, and waits. */
  shutDown(timeoutMs: number): Promise<void>;
  /** Ends it at once: what was not written is lost. */
  cutPower(): Promise<void>;
  /** A picture of the screen, as PPM. */
  screenshot(file: string): Promise<void>;
  readonly running: boolean;
  /** Memory of the whole emulator, in KiB. */
  residentKib(): number;
  pid: number;
}

let machines = 0;

export async function startMachine(options: MachineOptions): Promise<VirtualMachine> {
  mkdirSync(options.folder, { recursive: true });
  machines += 1;
  const at = (name: string) => join(options.folder, `${machines}-${name}`);
  const [serialFile, qmpPath, serialPath] = [at('serial.log'), at('qmp'), at('console')];
  for (const path of [serialFile, qmpPath, serialPath]) rmSync(path, { force: true });
  const ports = new Map<number, number>();
  for (const guest of options.ports ?? []) ports.set(guest, await freePort());
  const tpm = options.tpmState === undefined ? undefined : await startTpm(options.tpmState, at('tpm'));
  const child = startProcess(
    'qemu-system-x86_64',
    machineArgs(options, { serialFile, serialPath, qmpPath, ports, tpmSocket: tpm?.socket }),
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let complaint = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (complaint += text));
  const ended = endOf(child);
  let over = false;
  void ended.then(() => (over = true));
  await waitFor('QEMU to open its control socket', () => {
    if (over) throw new Error(`QEMU ended: ${complaint}`);
    return existsSync(qmpPath) && existsSync(serialPath);
  });
  const qmp = await openControl(qmpPath);
  const console_ = createConnection(serialPath);
  console_.on('error', () => undefined).resume();
  const serial = () => (existsSync(serialFile) ? readFileSync(serialFile, 'latin1') : '');
  const leave = async () => {
    await ended;
    console_.destroy();
    qmp.close();
    tpm?.child.kill();
  };
  return {
    port: (guest) => ports.get(guest) ?? fail(`port ${guest} is not forwarded`),
    serial,
    serialSays: (pattern, timeoutMs) =>
      waitFor(
        `the console to say ${pattern.source}`,
        () => {
          const match = pattern.exec(serial());
          if (match === null && over)
            throw new Error(`The machine ended before it said ${pattern.source}: ${complaint}`);
          return match ?? undefined;
        },
        timeoutMs,
      ),
    type: (text) => void console_.write(text),
    async shutDown(timeoutMs) {
      await qmp.ask('system_powerdown');
      await waitFor('the machine to shut down', () => over, timeoutMs);
      await leave();
    },
    async cutPower() {
      child.kill('SIGKILL');
      await leave();
    },
    screenshot: (file) => qmp.ask('screendump', { filename: file }),
    get running() {
      return !over;
    },
    residentKib: () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? 0),
    pid: child.pid ?? 0,
  };
}

function machineArgs(
  options: MachineOptions,
  made: {
    serialFile: string;
    serialPath: string;
    qmpPath: string;
    ports: Map<number, number>;
    tpmSocket: string | undefined;
  },
): string[] {
  const forwards = [...made.ports]
    .map(([guest, host]) => `,hostfwd=tcp:127.0.0.1:${host}-:${guest}`)
    .join('');
  const disks = options.disks.flatMap((path, index) => [
    ...['-drive', `file=${path},if=none,id=disk${index},format=qcow2,discard=unmap,cache=writeback`],
    ...['-device', `virtio-blk-pci,drive=disk${index},serial=disk${index}`],
  ]);
  return [
    ...[
      '-machine',
      'q35',
      '-accel',
      'tcg,thread=multi',
      '-cpu',
      'max',
      '-smp',
      '2',
      '-m',
      String(options.memoryMib ?? 2048),
    ],
    ...['-display', 'none', '-vga', 'std', '-no-user-config', '-nodefaults', '-device', 'virtio-rng-pci'],
    ...(options.uefi === undefined ? [] : ['-bios', options.uefi]),
    ...disks,
    ...(options.seed === undefined
      ? []
      : ['-drive', `file=${options.seed},if=virtio,format=raw,readonly=on`]),
    // restrict: the guest reaches nothing outside, which is how a test must be.
    ...['-netdev', `user,id=net0,restrict=on${forwards}`, '-device', 'virtio-net-pci,netdev=net0'],
    ...[
      '-chardev',
      `socket,id=con,path=${made.serialPath},server=on,wait=off,logfile=${made.serialFile}`,
      '-serial',
      'chardev:con',
    ],
    ...['-qmp', `unix:${made.qmpPath},server=on,wait=off`],
    ...(made.tpmSocket === undefined
      ? []
      : [
          '-chardev',
          `socket,id=tpm,path=${made.tpmSocket}`,
          '-tpmdev',
          'emulator,id=tpm0,chardev=tpm',
          '-device',
          'tpm-crb,tpmdev=tpm0',
        ]),
  ];
}

/** swtpm ends with the machine that used it; its state stays in the folder. */
async function startTpm(state: string, socket: string): Promise<{ child: ChildProcess; socket: string }> {
  mkdirSync(state, { recursive: true });
  rmSync(socket, { force: true });
  const child = startProcess(
    'swtpm',
    ['socket', '--tpm2', '--tpmstate', `dir=${state}`, '--ctrl', `type=unixio,path=${socket}`],
    {
      stdio: 'ignore',
    },
  );
  await waitFor('the software TPM', () => existsSync(socket));
  return { child, socket };
}

interface Control {
  ask(command: string, args?: object): Promise<void>;
  close(): void;
}

/** QEMU's machine protocol: one JSON object a line, an answer for each command, events between. */
async function openControl(path: string): Promise<Control> {
  const socket: Socket = createConnection(path);
  const waiting: ((answer: { error?: { desc: string } }) => void)[] = [];
  let rest = '';
  socket.on('error', () => undefined);
  socket.setEncoding('utf8').on('data', (text: string) => {
    rest += text;
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const message = JSON.parse(line) as { return?: unknown; error?: { desc: string } };
      if ('return' in message || message.error !== undefined) waiting.shift()?.(message);
    }
  });
  const ask = async (command: string, args?: object) => {
    const answer = await new Promise<{ error?: { desc: string } }>((resolve) => {
      waiting.push(resolve);
      socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    });
    if (answer.error !== undefined) throw new Error(`QEMU: ${answer.error.desc}`);
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

export async function must(command: string, args: readonly string[], timeoutMs = 600_000): Promise<string> {
  const result = await runProcess(command, args, { timeoutMs, maxOutputBytes: 1_000_000 });
  if (result.exitCode !== 0) throw new Error(`${command} ${args.join(' ')}: ${result.stderr}`);
  return result.stdout;
}

async function freePort(): Promise<number> {
  const { createServer } = await import('node:net');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function fail(words: string): never {
  throw new Error(words);
}
