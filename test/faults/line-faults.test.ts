/**
 * Targets over the network whose line or server fails while a snapshot is written: at any request of S3 and any piece of SFTP it is cut,
 * half-closed, garbled, shortened, late, answered 503 or with a listing that lags behind, once and from then on. `SEED=n` tries the same
 * ones again; `SLOW=1` tries all, but for lines that stay bad: each of those is waited for.
 */
import { cp, rm } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { S3Config, SftpConfig, Target } from '../../server/backups/engine.ts';
import { LIMITS, type S3Limits } from '../../server/backups/targets/s3/limits.ts';
import { openS3Target } from '../../server/backups/targets/s3/s3.ts';
import { openSftpTarget } from '../../server/backups/targets/sftp/sftp.ts';
import { createPlace, takeSnapshot, type Place } from '../backups/repository-place.ts';
import {
  startBadLine,
  startS3Server,
  type BadLine,
  type Mishap,
  type S3Server,
} from '../helpers/s3-server.ts';
import { startSftpServer, type SftpServer } from '../helpers/sftp-server.ts';
import { openTcpLine, type LineMishap, type TcpLine } from '../helpers/tcp-line.ts';
import { choose, FIRST, rememberCatalogue, seed, SLOW, surviveFault } from './survive-fault.ts';

/** About a minute on an idle machine. */
const LIMIT_MS = SLOW === '1' ? 3_600_000 : 900_000;
/** Each run says more or less in other pieces: a place that is not among the last ones is met by each. */
const SURE = 0.9;

interface Lined {
  /** Over the line that fails. */
  open(): Promise<Target>;
  /** Where the server keeps the repository. */
  folder: string;
  giveAway(path: string): void;
}

/** A place with one snapshot that can be put back to how it was. Targets that were opened are closed by `reset`. */
async function prepare(place: Place, lined: Lined) {
  const opened: Target[] = [];
  place.open = async () => {
    const target = await lined.open();
    opened.push(target);
    return target;
  };
  await takeSnapshot(place, FIRST);
  const origin = `${lined.folder}-origin`;
  await cp(lined.folder, origin, { recursive: true, preserveTimestamps: true });
  const restoreCatalogue = await rememberCatalogue(place);
  return async () => {
    for (const target of opened.splice(0)) await target.close();
    await rm(lined.folder, { recursive: true });
    await cp(origin, lined.folder, { recursive: true, preserveTimestamps: true });
    lined.giveAway(lined.folder);
    await restoreCatalogue();
  };
}

interface Trial<M> {
  mishap: M;
  at: number;
  how: 'once' | 'from then on';
}

function trialsOf<M>(mishaps: readonly M[], count: number): Trial<M>[] {
  return Array.from({ length: count }, (_, index) =>
    mishaps.flatMap((mishap) =>
      (['once', 'from then on'] as const).map((how) => ({ mishap, at: index + 1, how })),
    ),
  ).flat();
}

const nameOf = ({ at, how }: Trial<unknown>, what: string) => `${what} at ${String(at)}, ${how}`;

interface Met {
  what: string;
  ended: string;
  /** How often something befell it. */
  struck: number;
}

/**
 * The mishap of a trial, as the n-th request or piece meets with it, and how often one did: `befell` is told so. One that the mishap
 * does not fit leaves it to the next.
 */
function watch<M>(trial?: Trial<M>) {
  const watched = { seen: 0, struck: 0 };
  const next = (): M | undefined => {
    watched.seen += 1;
    if (trial === undefined || watched.seen < trial.at) return undefined;
    return trial.how === 'once' && watched.struck > 0 ? undefined : trial.mishap;
  };
  const befell = (): void => void (watched.struck += 1);
  return { watched, next, befell };
}

/** Faults that met nobody, or that nobody minded, would prove nothing. */
function expectMet(what: string, all: readonly Met[]): void {
  const counts = Object.fromEntries(
    [...new Set(all.map((one) => one.ended))].map((end) => [end, all.filter((o) => o.ended === end).length]),
  );
  process.stdout.write(`SEED=${String(seed)} ${what} ${JSON.stringify(counts)}\n`);
  expect(all.filter((one) => one.struck === 0).map((one) => one.what)).toEqual([]);
  expect(Object.keys(counts).length).toBeGreaterThan(1);
}

/** Undoes what was begun, the last first, also when a later beginning failed. */
function undoLater() {
  const steps: (() => unknown)[] = [];
  afterAll(async () => {
    for (const step of steps.splice(0).reverse()) await step();
  });
  return (step: () => unknown): void => void steps.push(step);
}

describe('S3', () => {
  /** As in the product, but with short waits. */
  const PATIENT: S3Limits = { ...LIMITS, firstWaitMs: 1, longestWaitMs: 5, rivalsMs: 1_000 };
  /** While something befalls the line. */
  const HASTY: S3Limits = { ...PATIENT, attempts: 3, stallMs: 400 };
  const REFUSED = '<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Slow down</Message></Error>';
  const MISHAPS: Mishap[] = [
    { kind: 'answer', status: 503, body: REFUSED },
    { kind: 'answer', status: 500 },
    ...[{ kind: 'cut-before' as const }, { kind: 'cut-after' as const }, { kind: 'half-closed' as const }],
    ...[{ kind: 'short' as const, bytes: 10 }, { kind: 'garbled' as const }, { kind: 'stale' as const }],
    ...[{ kind: 'silent' as const }, { kind: 'slow' as const, ms: 50 }],
  ];
  const LEFT_BEHIND_MS = 16 * 60_000;
  let server: S3Server;
  let line: BadLine;
  let place: Place;
  let reset: () => Promise<void>;
  let limits = PATIENT;
  const later = undoLater();

  beforeAll(async () => {
    server = await startS3Server();
    later(server.stop);
    line = await startBadLine(server);
    later(line.stop);
    const config: S3Config = server.config('faults');
    place = await createPlace(undefined, config);
    later(place.dispose);
    reset = await prepare(place, {
      open: () => openS3Target({ ...config, endpoint: line.endpoint }, limits),
      folder: server.folder('faults'),
      giveAway: () => undefined,
    });
    later(reset);
  }, 60_000);

  async function meet(name: string, trial?: Trial<Mishap>) {
    await reset();
    const { watched, next, befell } = watch(trial);
    const ended = await surviveFault(place, {
      name,
      begin: () => {
        if (trial !== undefined) limits = HASTY;
        line.now = () => new Date();
        line.strike = next;
        line.befell = befell;
      },
      end: () => {
        limits = PATIENT;
        line.strike = () => undefined;
        // This server has no conditional writes, so whoever is cut off while creating a name is waited for so long.
        line.now = () => new Date(Date.now() + LEFT_BEHIND_MS);
      },
    });
    return { what: name, ended, ...watched };
  }

  test(
    'whatever befalls a request, no snapshot is called stored that cannot be restored',
    async () => {
      const { ended, seen } = await meet('nothing');
      expect(ended).toBe('stored');
      expect(seen).toBeGreaterThan(20);

      const all: Met[] = [];
      for (const trial of choose(trialsOf(MISHAPS, Math.floor(seen * SURE)), 18))
        all.push(await meet(nameOf(trial, JSON.stringify(trial.mishap)), trial));
      // Where no listing comes after another one that said something else, none can lag behind.
      expectMet(
        's3',
        all.filter(({ what, struck }) => struck > 0 || !what.includes('stale')),
      );
    },
    LIMIT_MS,
  );
});

describe('SFTP', () => {
  const MISHAPS: LineMishap[] = ['reset', 'half-closed', 'garbled', 'short', 'slow'];
  let server: SftpServer;
  let line: TcpLine;
  let place: Place;
  let reset: () => Promise<void>;
  const later = undoLater();

  beforeAll(async () => {
    server = await startSftpServer();
    later(server.stop);
    line = await openTcpLine(server.port);
    later(line.close);
    const folder = await server.makeFolder('faults');
    const config: SftpConfig = server.config(folder);
    place = await createPlace(undefined, config);
    later(place.dispose);
    reset = await prepare(place, {
      open: () => openSftpTarget({ ...config, port: line.port }, 2_000),
      folder,
      giveAway: server.giveAwayAll,
    });
    later(reset);
  }, 60_000);

  async function meet(name: string, trial?: Trial<LineMishap>) {
    await reset();
    const { watched, next, befell } = watch(trial);
    const ended = await surviveFault(place, {
      name,
      begin: () => {
        line.strike = next;
        line.befell = befell;
      },
      end: () => (line.strike = () => undefined),
    });
    return { what: name, ended, ...watched };
  }

  test(
    'whatever befalls the line, no snapshot is called stored that cannot be restored',
    async () => {
      const { ended, seen } = await meet('nothing');
      expect(ended).toBe('stored');
      expect(seen).toBeGreaterThan(50);

      const trials = trialsOf(MISHAPS, Math.floor(seen * SURE));
      const once = trials.filter(({ how }) => how === 'once');
      // A line that stays bad is waited for half a minute.
      const early = trials.filter(
        ({ how, mishap, at }) => how === 'from then on' && mishap !== 'slow' && at < seen / 2,
      );
      const all: Met[] = [];
      for (const trial of [...choose(once, 9), ...choose(early, 1, 40)])
        all.push(await meet(nameOf(trial, trial.mishap), trial));
      expectMet('sftp', all);
    },
    LIMIT_MS,
  );
});
