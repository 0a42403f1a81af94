import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  buildHostApp,
  hostPlaces,
  networkRoutes,
  openJournal,
  powerRoutes,
  shellRoutes,
} from '../../server/appliance/host/index.ts';
import { noteEnded, noteProgress, noteStarted } from '../../server/appliance/host/recovery/status.ts';
import { machineRecoveryRoutes } from '../../server/appliance/host/machine-recovery.ts';
import { keepNetworkSettings } from '../../server/appliance/host/network/trial.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { createLog } from '../../server/lib/log.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { requireTools } from '../helpers/tools.ts';

const script = join(import.meta.dirname, '..', '..', 'systemd', 'system', 'console.sh');
beforeAll(() => requireTools('script'));
const RECOVERY_KEY = 'AAAA-BBBB';
/** Ctrl-C, Ctrl-Z and Ctrl-\\. */
const KEYS_THAT_END = '\u0003\u001a\u001c';

const nothing = async () => undefined;
const NO_SERVICES = { stop: nothing, start: nothing, startPage: nothing, recover: async () => true };

describe('the console menu', () => {
  let root = '';
  let hostd: FastifyInstance;
  let menu: ChildProcess | undefined;
  let screen = '';
  let ssh: object = {};
  let setBack: object = { record: null };
  let acts: string[] = [];
  let answering: Promise<unknown> = Promise.resolve();

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'holdfast-test-console-'));
    const places = hostPlaces(root);
    for (const folder of [places.state, places.run, join(places.data, 'holdfast')])
      await mkdir(folder, { recursive: true });
    acts = [];
    ssh = { open: null, hostKey: null };
    setBack = { record: null };
    answering = Promise.resolve();
    const journal = openJournal(places.state, systemClock);
    const deps = { places, clock: systemClock, log: createLog('silent', 'test'), journal };
    const power = async (action: string) => {
      acts.push(action);
      await answering;
    };
    const open = async (line: string) => void acts.push(`shell on ${line}`);
    hostd = await buildHostApp(deps, [
      networkRoutes(deps, async () => void acts.push('network')),
      powerRoutes({ ...deps, power }),
      machineRecoveryRoutes({ ...deps, dataDir: join(places.data, 'holdfast'), services: NO_SERVICES }),
      async (app) => void app.get('/ssh', () => ssh),
      async (app) => void app.get('/set-back', () => setBack),
      shellRoutes({ ...deps, isRecoveryKey: async (text) => text === RECOVERY_KEY, open }),
    ]);
    await hostd.listen({ path: join(places.run, 'host.sock') });
    await writeFile(join(places.run, 'claim-code'), 'ABCD-EFGH-JKMN-PQRS\n2026-12-01T00:00:00.000Z\n');
  });

  afterEach(async () => {
    menu?.kill('SIGKILL');
    await hostd.close();
    await rm(root, { recursive: true, force: true });
  });

  it('shows address, state and claim code on a screen', async () => {
    await openMenu('tty1', { plain: true });

    await sees(/This appliance has no owner yet/);
    await sees(/Claim code: ABCD-EFGH-JKMN-PQRS \(good until 2026-12-01/);
    expect(acts).toEqual([]);
  }, 60_000);

  it('says when the set-up by file failed', async () => {
    await writeFile(
      join(root, 'run', 'holdfast', 'setup-problem.json'),
      '{"problem":"The target is not there"}',
    );
    await openMenu('ttyS0');

    expect(screen).toContain('The target is not there');
  }, 60_000);

  it('says until when SSH is open, and which key this machine has', async () => {
    const open = { openedAt: '2026-11-22T06:00:00Z', until: '2026-11-22T07:00:00Z', port: 22, networks: [] };
    const authority = { fingerprint: 'SHA256:authority', kind: 'ED25519', comment: '' };
    ssh = {
      open: { ...open, reason: 'The updates do not install', authority },
      hostKey: { fingerprint: 'SHA256:machine', kind: 'ED25519', comment: '' },
    };
    await openMenu('ttyS0');

    await sees(/SSH is open until 2026-11-22T07:00:00Z. Host key: SHA256:machine/);
    expect(screen).not.toContain('SHA256:authority');
  }, 60_000);

  it('keeps the claim code off a serial line, until the owner allows it there', async () => {
    await openMenu('ttyS0');
    await sees(/Claim code: not shown on a serial line/);
    expect(screen).not.toContain('ABCD');

    await keepNetworkSettings(hostPlaces(root), { console: { claimCodeOnSerial: true } });
    await choose('Look again');

    await sees(/Claim code: ABCD-EFGH/);
  }, 60_000);

  it('of a locked machine says what is wanted, and offers no shell', async () => {
    const note = { state: { kind: 'locked', title: 'The volume is locked', sentences: ['Type its key.'] } };
    await writeFile(
      join(root, 'run/holdfast/unlock.json'),
      JSON.stringify({ ...note, fingerprint: 'AA:BB', port: 443 }),
    );

    await openMenu('ttyS0');

    await sees(/The volume is locked[^]*Certificate, SHA-256: AA:BB[^]*Unlock the data volume[^]*Number: /);
    expect(screen).not.toMatch(/shell|ABCD/);
  }, 60_000);

  it('says how a lost appliance comes back, where it is wanted: without an owner, and locked', async () => {
    await openMenu('ttyS0');
    await sees(/set up anew, or becomes one that was lost/);
    await choose('How a lost appliance comes back');

    await sees(
      /from its backups and its recovery kit[^]*Recover an appliance that was lost[^]*ever formatted/,
    );
    expect(acts).toEqual([]);
  }, 60_000);

  it('shows how far a recovery is, and no claim code meanwhile', async () => {
    const deps = { places: hostPlaces(root), clock: systemClock };
    await noteStarted(deps);
    await noteProgress(deps, { step: 'Restoring the files' });
    await noteProgress(deps, { bytesDone: 3 * 1_048_576, bytesTotal: 12 * 1_048_576, filesDone: 7 });
    await openMenu('ttyS0');

    await sees(
      /being recovered onto this machine[^]*Restoring the files: 25 %, 3\.0 MiB, 7 files\.[^]*Number: /,
    );
    expect(screen).not.toMatch(/ABCD|claim code/);

    await noteEnded(deps, { message: 'This recovery kit does not open this repository', hint: null });
    await choose('Look again');
    await sees(/did not succeed[^]*kit does not open this repository\.[^]*empty again[^]*no owner yet/);
  }, 60_000);

  it('shows how far a set-back is, and after a power cut what the machine did by itself', async () => {
    const deps = { places: hostPlaces(root), clock: systemClock };
    await noteStarted(deps, {
      act: 'set-back',
      dataFrom: '2026-11-22T06:15:00.000Z',
      step: 'Restoring the files',
    });
    await openMenu('ttyS0');
    await sees(/set back to its data of 2026-11-22 06:15 UTC[^]*starts with them by itself[^]*Number: /);

    await noteEnded(deps, undefined);
    const snapshot = { id: 'ab'.repeat(32), number: 3, takenAt: '2026-11-22T06:15:00.000Z' };
    const problem = { message: 'The machine was cut off', hint: null };
    const at = new Date().toISOString();
    setBack = { record: { state: 'failed', snapshot, problem, at, keptUntil: null } };
    await choose('Look again');
    await sees(
      /back to its data of 2026-11-22 06:15 UTC failed: The machine was cut off\. The data from before/,
    );

    setBack = {
      record: { state: 'kept', snapshot, problem: null, at, keptUntil: '2026-11-29T07:00:00.000Z' },
    };
    await choose('Look again');
    await sees(/those from before are kept until 2026-11-29 07:00 UTC/);
    expect(acts).toEqual([]);
  }, 60_000);

  it('changes the network and keeps it when that is confirmed', async () => {
    await openMenu('ttyS0');
    await choose('Network, host name');
    await choose('Give it an address');
    for (const answer of ['192.0.2.10/24', '192.0.2.1', '']) await answerTo(/\[\]: $/, answer);
    await answerTo(/Keep these settings\? Type yes: $/, 'yes');

    await sees(/The new settings count from now on/);
    expect(acts).toEqual(['network']);
    const kept = await readFile(join(root, 'state/settings.json'), 'utf8');
    expect(kept).toContain('192.0.2.10/24');
  }, 60_000);

  it('says what is wrong with an address, and changes nothing', async () => {
    await openMenu('ttyS0');
    await choose('Network, host name');
    await choose('Give it an address');
    for (const answer of ['$(reboot)', '', '']) await answerTo(/\[\]: $/, answer);

    await sees(/Not changed\r?\n.*is not an address/);
    expect(acts).toEqual([]);
  }, 60_000);

  it('restarts only when that is agreed to', async () => {
    await openMenu('ttyS0');
    await choose('Restart');
    await answerTo(/Type yes: $/, 'no');
    await choose('Restart');
    expect(acts).toEqual([]);
    await answerTo(/Type yes: $/, 'yes');

    await sees(/The machine goes down now/);
    expect(acts).toEqual(['restart']);
  }, 60_000);

  it('opens no shell without consent or recovery key, and journals the refusal', async () => {
    await openMenu('ttyS0');
    await choose('Break-glass shell');
    await answerTo(/Type yes: $/, 'yes');
    await answerTo(/agreed to a shell\): $/, 'wrong');
    await sees(/Refused[^]*has not agreed/);
    expect(acts).toEqual([]);

    await choose('Break-glass shell');
    await answerTo(/Type yes: $/, 'yes');
    await answerTo(/agreed to a shell\): $/, RECOVERY_KEY);

    await waitFor('the shell', () => acts.includes('shell on ttyS0'));
    expect(screen).not.toContain(RECOVERY_KEY);
    const journaled = await openJournal(join(root, 'state'), systemClock).list();
    expect(journaled.map((act) => act.action)).toEqual(['host.shell.refused', 'host.shell.opened']);
  }, 60_000);

  it('gives nothing to Ctrl-C, Ctrl-Z and Ctrl-\\, neither at rest nor in the middle of an act', async () => {
    const { promise, resolve: answer } = Promise.withResolvers<undefined>();
    answering = promise;
    await openMenu('ttyS0');
    menu?.stdin?.write(KEYS_THAT_END);
    await sees(/Number: .*\^\\$/);
    menu?.stdin?.write('\n');
    await sees(/\^\\[^]*Number: $/);
    await choose('Restart');
    await answerTo(/Type yes: $/, 'yes');
    await waitFor('the act', () => acts.includes('restart'));
    menu?.stdin?.write(KEYS_THAT_END);
    await sees(/\^\\$/);
    answer(undefined);

    await sees(/The machine goes down now/);
    expect(acts).toEqual(['restart']);
  }, 60_000);

  it('ends when the line is hung up', async () => {
    await openMenu('ttyS0');

    const ended = new Promise((resolve) => menu?.once('exit', resolve));
    menu?.stdin?.end('\u0004');
    await ended;

    expect(screen).not.toMatch(/[#$] $/);
  }, 60_000);

  async function openMenu(line: string, options: { plain?: boolean } = {}): Promise<void> {
    screen = '';
    const inherited = Object.entries(process.env).filter(
      ([name]) => !/^HOLDFAST_|VITEST|NODE_OPTIONS/.test(name),
    );
    menu = spawn(
      'script',
      // In place of the shell that reads this line: the keys would end that one, where it is dash.
      ['-qfec', `exec ${options.plain === true ? 'env PLAIN=1 ' : ''}${script} ${root}`, '/dev/null'],
      {
        stdio: ['pipe', 'pipe', 'pipe'],
        env: {
          ...(Object.fromEntries(inherited) as Record<string, string>),
          TERM: 'vt220',
          CONSOLE_LINE: line,
        },
      },
    );
    menu.stdout?.setEncoding('utf8').on('data', (text: string) => (screen += text));
    await sees(/Number: $/);
  }

  async function sees(words: RegExp): Promise<void> {
    await waitFor(`the console to show ${words}`, () => words.test(screen), 30_000).catch(
      (error: unknown) => {
        throw new Error(`The console shows: ${screen}`, { cause: error });
      },
    );
  }

  async function choose(words: string): Promise<void> {
    await sees(/Number: $/);
    const numbers = [...screen.matchAll(/^ +(\d+) {2}(.*?)\r?$/gm)];
    const number = numbers.findLast(([, , label = '']) => label.startsWith(words))?.[1] ?? '';
    screen = '';
    menu?.stdin?.write(`${number}\n`);
  }

  async function answerTo(prompt: RegExp, answer: string): Promise<void> {
    await sees(prompt);
    screen = '';
    menu?.stdin?.write(`${answer}\n`);
  }
});
