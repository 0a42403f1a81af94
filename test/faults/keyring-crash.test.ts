import { appendFile, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openKeyringFile, rootKeyFile, rootKeyPath } from '../../server/keys/index.ts';
import { childEnvironment } from '../../server/lib/config.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import { makeKey, makeKeyringDirectory, put } from '../keys/keyring-place.ts';

const CHILD = join(import.meta.dirname, 'keyring-child.ts');
const CRASH_AT = join(import.meta.dirname, '..', 'helpers', 'crash-at.ts');
const STEPS = ['put', 'put', 'rewrite', 'put', 'drop', 'put'];

/** What a run of the child acknowledged. */
interface Told {
  put: Map<string, string>;
  /** Asked to be destroyed, not known to be. */
  dropping: Set<string>;
  dropped: Set<string>;
  failed: string | undefined;
  signal: NodeJS.Signals | null;
}

async function runChild(
  directory: string,
  steps: readonly string[],
  crash: { at?: string; log?: string } = {},
  limit: readonly string[] = [],
): Promise<Told> {
  const [command, ...before] = [...limit, process.execPath];
  const child = startProcess(command, [...before, '--import', CRASH_AT, CHILD, directory, ...steps], {
    env: childEnvironment({
      HOLDFAST_TEST_CRASH_AT: crash.at ?? '',
      ...(crash.log === undefined ? {} : { HOLDFAST_TEST_CRASH_LOG: crash.log }),
    }),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output += text));
  const closed = new Promise((resolve) => child.stdout?.once('close', resolve));
  const { signal } = await endOf(child);
  await closed;
  const told: Told = { put: new Map(), dropping: new Set(), dropped: new Set(), failed: undefined, signal };
  for (const line of output.split('\n').filter(Boolean)) {
    const message = JSON.parse(line) as Record<string, string>;
    if (message.put) told.put.set(message.put, message.material ?? '');
    if (message.dropping) told.dropping.add(message.dropping);
    if (message.dropped) told.dropped.add(message.dropped);
    if (message.failed) told.failed = message.failed;
  }
  return told;
}

/** Every acknowledged key is there, whole; every destroyed one is not; at most one more was under way. */
async function expectWhole(directory: string, told: Told): Promise<void> {
  const file = await openKeyringFile({ directory, rootKey: rootKeyFile(rootKeyPath(directory)) });
  try {
    const { keys } = file.keyring();
    for (const id of told.dropped) expect(keys.has(id)).toBe(false);
    for (const [id, material] of told.put) {
      if (told.dropping.has(id) && !keys.has(id)) continue;
      if (told.dropped.has(id)) continue;
      expect(keys.get(id)?.versions[0]?.material.toString('hex')).toBe(material);
    }
    expect(keys.size).toBeLessThanOrEqual(told.put.size - told.dropped.size + 1);
    const late = makeKey();
    await file.append([put(late)]);
    await file.rewrite();
    expect(file.keyring().keys.has(late.id)).toBe(true);
  } finally {
    await file.close();
  }
}

/** Every time each step is reached, as `name:n`. */
function listCases(reached: readonly string[]): string[] {
  const totals = new Map<string, number>();
  return reached.map((name) => {
    const count = (totals.get(name) ?? 0) + 1;
    totals.set(name, count);
    return `${name}:${count}`;
  });
}

/** Two at a time: starting a process is most of the work. */
async function inPairs(cases: readonly string[], act: (at: string) => Promise<void>): Promise<void> {
  const left = [...cases];
  const work = async () => {
    for (let at = left.shift(); at !== undefined; at = left.shift()) await act(at);
  };
  await Promise.all([work(), work()]);
}

describe('a keyring whose process is killed', () => {
  it('at every durable step keeps all acknowledged keys, loses all destroyed ones, and goes on', async () => {
    const reference = await makeKeyringDirectory();
    const log = join(reference, '..', `${Math.random().toString(36).slice(2)}.crash-points`);
    const whole = await runChild(reference, STEPS, { log });
    const reached = (await readFile(log, 'utf8')).trim().split('\n');
    await rm(log);
    expect(whole.put.size).toBe(4);
    expect(whole.dropped.size).toBe(1);
    expect(new Set(reached).size).toBeGreaterThanOrEqual(18);

    await inPairs(listCases(reached), async (at) => {
      const directory = await makeKeyringDirectory();
      const told = await runChild(directory, STEPS, { at });
      expect(told.signal, at).toBe('SIGKILL');
      await expectWhole(directory, told);
    });
  }, 120_000);

  it('while it heals a torn record heals at the next start', async () => {
    const directory = await makeKeyringDirectory();
    const told = await runChild(directory, ['put', 'put']);
    await appendFile(join(directory, 'log-1'), Buffer.from([0, 0, 1, 0, 255, 255, 254, 255, 1, 2, 3]));
    const killed = await runChild(directory, ['put'], { at: 'keyring.log.truncated:1' });

    expect(killed.signal).toBe('SIGKILL');
    await expectWhole(directory, told);
  });

  it('by a limit in the middle of a record refuses that key and keeps all others', async () => {
    const directory = await makeKeyringDirectory();
    const told = await runChild(directory, ['fill'], {}, ['/usr/bin/prlimit', '--fsize=5000']);

    expect(told.failed).toBeDefined();
    expect(told.put.size).toBeGreaterThan(3);
    const file = await openKeyringFile({ directory, rootKey: rootKeyFile(rootKeyPath(directory)) });
    expect([...file.keyring().keys.keys()].sort()).toEqual([...told.put.keys()].sort());
    await file.close();
  });
});
