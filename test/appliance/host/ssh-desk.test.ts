/** When SSH opens and ends, step by step: the real files and journal; what would start and listen is a list that the test reads. */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { hostPlaces, openJournal, openSshDesk } from '../../../server/appliance/host/index.ts';
import { keepNetworkSettings } from '../../../server/appliance/host/network/trial.ts';
import { writeVolumeNote } from '../../../server/appliance/host/volume/note.ts';
import { createLog } from '../../../server/lib/log.ts';
import { requireTools } from '../../helpers/tools.ts';

const OWNER = { kind: 'user', id: '6f0c6a3e-2f6d-4a1b-9d0e-1f2a3b4c5d6e' } as const;
const AUTHORITY =
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIQ6Hy54oRCmHQEZF1VS1rfEQTAmXSHPdbKBnZl5xjqM authority of the house';
const REQUEST = { actor: OWNER, authority: AUTHORITY, minutes: 15, reason: 'The updates do not install' };
const WATCH_MS = 15_000;
const clock = { now: () => new Date(nowMs), monotonicMs: () => nowMs };

let top = '';
let nowMs = 0;
/** What was done to the system, in order. */
let done: string[] = [];
/** Steps that fail. */
let broken: string[] = [];
let listening = false;

beforeAll(() => requireTools('ssh-keygen'));
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  top = await mkdtemp(join(tmpdir(), 'holdfast-test-ssh-desk-'));
  [nowMs, done, broken, listening] = [Date.parse('2026-11-22T06:00:00Z'), [], [], false];
  const places = hostPlaces(top);
  for (const folder of [places.state, places.run, places.data]) await mkdir(folder, { recursive: true });
  await writeVolumeNote(places, {
    ...{ uuid: '0d9c1f4e-7a52-4c34-8f0b-0a1b2c3d4e5f', device: '/dev/vdb', claimed: true },
    ...{ wayId: null, unknownKeyslots: [], lostWays: [] },
  });
});
afterEach(async () => {
  vi.useRealTimers();
  await rm(top, { recursive: true, force: true });
});

function makeDesk() {
  const places = hostPlaces(top);
  const step =
    (name: string, act: () => void = () => undefined) =>
    async () => {
      done.push(name);
      if (broken.includes(name)) throw new Error(`${name} is broken`);
      act();
    };
  return openSshDesk(
    { places, clock, log: createLog('silent', 'test'), journal: openJournal(places.state, clock) },
    {
      service: {
        start: step('start', () => (listening = true)),
        stop: step('stop', () => (listening = false)),
        isRunning: async () => listening,
      },
      account: { make: async () => step('account')(), remove: step('no account') },
      firewall: step('firewall'),
      port: 22,
    },
  );
}

async function acts(): Promise<string[]> {
  const journal = await openJournal(hostPlaces(top).state, clock).list();
  return journal.map(({ action, result }) => `${action.slice('host.ssh.'.length)} ${result}`);
}

/** The timers of a desk wait for each other; what they do takes real time. */
async function pass(ms: number, until: () => Promise<void>): Promise<void> {
  nowMs += ms;
  vi.advanceTimersByTime(Math.min(ms, WATCH_MS));
  vi.useRealTimers();
  await vi.waitFor(until, 10_000);
}

describe('SSH', () => {
  it('does not open while the data volume is closed', async () => {
    await rm(join(hostPlaces(top).run, 'volume.json'));

    await expect(makeDesk().open(REQUEST)).rejects.toMatchObject({ code: 'wrong_state' });

    expect({ done, acts: await acts() }).toEqual({ done: [], acts: [] });
  });

  it('opens in an order in which nobody comes in before all is in place, for the management networks', async () => {
    await keepNetworkSettings(hostPlaces(top), { managementNetworks: ['10.20.0.0/16'] });

    const { state, passphrase } = await makeDesk().open(REQUEST);

    expect(done).toEqual(['account', 'start', 'firewall']);
    expect(state.open).toMatchObject({ until: '2026-11-22T06:15:00.000Z', networks: ['10.20.0.0/16'] });
    expect(state.authority).toMatchObject({ kind: 'ED25519', comment: 'authority of the house' });
    expect(passphrase).toMatch(/^([0-9A-HJKMNP-TV-Z]{4}-){5}[0-9A-HJKMNP-TV-Z]{4}$/);
    expect((await readdir(join(top, 'run/holdfast/ssh'))).sort()).toEqual([
      ...['authority.pub', 'sshd_config', 'window.env', 'window.json'],
    ]);
  });

  it.each(['account', 'start', 'firewall'])(
    'takes everything back when the step "%s" fails',
    async (step) => {
      broken = [step];
      const desk = makeDesk();

      await expect(desk.open(REQUEST)).rejects.toThrow();

      expect(done.slice(-3)).toEqual(['stop', 'no account', 'firewall']);
      expect(listening).toBe(false);
      expect((await desk.state()).open).toBeNull();
      expect(await acts()).toEqual(['opened done', 'opened failed']);
      await expect(readdir(join(top, 'run/holdfast/ssh'))).rejects.toThrow('ENOENT');
    },
  );

  it('ends when its time is over, once', async () => {
    const desk = makeDesk();
    await desk.open(REQUEST);
    done = [];

    await pass(15 * 60_000, async () => expect((await desk.state()).open).toBeNull());

    expect(done).toEqual(['stop', 'no account', 'firewall']);
    expect(await acts()).toEqual(['opened done', 'expired done']);
  });

  it('is known to be off soon after sshd ended by itself', async () => {
    const desk = makeDesk();
    await desk.open(REQUEST);
    listening = false;

    await pass(WATCH_MS, async () => expect((await desk.state()).open).toBeNull());

    expect(await acts()).toEqual(['opened done', 'ended done']);
  });

  it('counts as open while sshd cannot be stopped, whose account and hole go all the same', async () => {
    const desk = makeDesk();
    await desk.open(REQUEST);
    [done, broken] = [[], ['stop']];

    await expect(desk.close(OWNER)).rejects.toThrow('stop is broken');

    expect(done).toEqual(['stop', 'no account', 'firewall']);
    expect((await desk.state()).open).not.toBeNull();
    broken = [];
    expect((await desk.close(OWNER)).open).toBeNull();
  });

  it('of a hostd that is gone is taken up by the next one, or cleared when it is over', async () => {
    const first = makeDesk();
    await first.open(REQUEST);
    first.stop();
    const second = makeDesk();
    await second.resume();
    expect((await second.state()).open).toMatchObject({ reason: REQUEST.reason });
    second.stop();

    nowMs += 16 * 60_000;
    const third = makeDesk();
    await third.resume();

    expect((await third.state()).open).toBeNull();
    expect(await acts()).toEqual(['opened done', 'expired done']);
  });

  it('leaves nothing of an opening that a crash cut off before anybody could come in', async () => {
    listening = true;
    await makeDesk().resume();

    expect(done).toEqual(['stop', 'no account', 'firewall']);
    expect(listening).toBe(false);
  });
});
