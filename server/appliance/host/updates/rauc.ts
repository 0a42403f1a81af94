/**
 * The update engine, RAUC, by its command. It verifies signatures, writes the slot that does not run, and speaks with the
 * boot loader; nothing of that is ours. @see https://rauc.readthedocs.io (Command-line, Bootloader Interaction)
 */
import { createInterface } from 'node:readline';
import { HoldfastError } from '../../../lib/errors.ts';
import { endOf, runProcess, startProcess } from '../../../lib/spawn.ts';
import type { Slot, SlotName } from './schema.ts';

/** What a bundle says of itself, once its signature was found good. */
export interface BundleManifest {
  compatible: string;
  version: string;
  description: string;
  build: string | null;
  images: string[];
  signedBy: string | null;
}

/** Reads, and never writes a slot: what a test on any machine may use. */
export interface BundleReader {
  /** @returns the manifest, or what the engine said against the file. */
  info(path: string): Promise<{ manifest: BundleManifest } | { refused: string }>;
}

export interface Rauc extends BundleReader {
  slots(): Promise<Slot[]>;
  /** Writes the slot that does not run and makes it the next one. @throws HoldfastError with the engine's words. */
  install(path: string, onProgress: (percent: number) => void): Promise<void>;
  /** `active`: the next boot takes it. `good`: it stays. `bad`: the boot loader passes it over. */
  mark(what: 'active' | 'good' | 'bad', which: 'booted' | 'other'): Promise<void>;
  /** @returns the folder where the verified content of a bundle lies until `unmount`. */
  mount(path: string, below: string): Promise<{ folder: string; unmount(): Promise<void> }>;
}

export interface RaucOptions {
  /** Certificates of those whose bundles are taken. */
  keyring: string;
  command?: string;
  /** Environment of the command; ours when absent. */
  env?: Record<string, string>;
}

/** Certificates of the publisher in the image. */
export const RAUC_KEYRING = '/etc/rauc/keyring.pem';

const INFO_TIMEOUT_MS = 120_000;
const STATUS_TIMEOUT_MS = 30_000;
const INSTALL_TIMEOUT_MS = 60 * 60_000;

export function createRauc(options: RaucOptions): Rauc {
  const command = options.command ?? 'rauc';
  const run = (args: string[], timeoutMs: number) =>
    runProcess(command, args, { timeoutMs, ...(options.env === undefined ? {} : { env: options.env }) });
  const must = async (args: string[], what: string) => {
    const ended = await run(args, STATUS_TIMEOUT_MS);
    if (ended.exitCode === 0) return ended;
    throw engineError(what, ended.stderr);
  };
  return {
    async info(path) {
      const ended = await run(
        ['info', `--keyring=${options.keyring}`, '--output-format=json', path],
        INFO_TIMEOUT_MS,
      );
      if (ended.exitCode !== 0) return { refused: lastWords(ended.stderr) };
      return { manifest: readManifest(ended.stdout, ended.stderr) };
    },
    async slots() {
      const { stdout } = await must(
        ['status', '--detailed', '--output-format=json'],
        'say which slots it has',
      );
      return readSlots(stdout);
    },
    install: (path, onProgress) => install(command, path, onProgress),
    async mark(what, which) {
      await must(['status', `mark-${what}`, which], `mark the ${which} slot as ${what}`);
    },
    async mount(path, below) {
      await must(['mount', `--keyring=${options.keyring}`, `--mount=${below}`, path], 'open the bundle');
      const folder = `${below}/bundle`;
      return {
        folder,
        unmount: async () => {
          await runProcess('umount', [folder], { timeoutMs: STATUS_TIMEOUT_MS });
        },
      };
    },
  };
}

async function install(command: string, path: string, onProgress: (percent: number) => void): Promise<void> {
  const child = startProcess(command, ['install', '--progress', path], { stdio: ['ignore', 'pipe', 'pipe'] });
  let words = '';
  const limit = setTimeout(() => child.kill('SIGKILL'), INSTALL_TIMEOUT_MS);
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    createInterface({ input: stream, crlfDelay: Infinity }).on('line', (line) => {
      const percent = /^\s*(\d{1,3})%/.exec(line)?.[1];
      if (percent !== undefined) onProgress(Math.min(100, Number(percent)));
      else words = `${words}${line}\n`.slice(-4_000);
    });
  }
  const end = await endOf(child);
  clearTimeout(limit);
  if (end.exitCode === 0) return;
  throw engineError('install the bundle', end.error?.message ?? words);
}

/** @throws HoldfastError `integrity_failure` for an answer that is none. */
function readManifest(stdout: string, stderr: string): BundleManifest {
  const value = parseJson(stdout) as Record<string, unknown>;
  const text = (name: string) => (typeof value[name] === 'string' ? value[name] : '');
  const images = Array.isArray(value.images) ? (value.images as Record<string, unknown>[]) : [];
  return {
    compatible: text('compatible'),
    version: text('version'),
    description: text('description'),
    build: text('build') === '' ? null : text('build'),
    images: images.flatMap((image) => Object.keys(image)),
    signedBy: /Verified (?:inline|detached) signature by '([^']{1,300})'/.exec(stderr)?.[1] ?? null,
  };
}

/** The slots that can be booted, as `rauc status --detailed --output-format=json` tells of them. */
export function readSlots(stdout: string): Slot[] {
  const value = parseJson(stdout) as {
    boot_primary?: string;
    slots?: Record<string, Record<string, unknown>>[];
  };
  return (value.slots ?? [])
    .flatMap((entry) => Object.entries(entry))
    .filter(([, slot]) => slot.bootname === 'A' || slot.bootname === 'B')
    .map(([id, slot]) => {
      const status = (slot.slot_status ?? {}) as {
        bundle?: { version?: string };
        installed?: { timestamp?: string };
      };
      return {
        name: slot.bootname as SlotName,
        booted: slot.state === 'booted',
        primary: value.boot_primary === id,
        good: slot.boot_status === 'good',
        version: status.bundle?.version ?? null,
        installedAt: status.installed?.timestamp ?? null,
      };
    });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new HoldfastError('integrity_failure', 'The update engine gave an answer that cannot be read', {
      hint: 'Run `rauc status` at the console of the machine.',
      detail: text.slice(0, 500),
      cause: error,
    });
  }
}

function engineError(what: string, stderr: string): HoldfastError {
  return new HoldfastError('unavailable', `The update engine could not ${what}: ${lastWords(stderr)}`, {
    hint: 'The running system was not touched. The journal of the machine says more.',
    detail: stderr.slice(-2_000),
  });
}

/** The engine logs what it does, and says at the end what was wrong. */
function lastWords(stderr: string): string {
  const lines = stderr
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !/^rauc-Message|^\(rauc:/.test(line));
  return (lines.at(-1) ?? 'it said nothing').slice(0, 500);
}
