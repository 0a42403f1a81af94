/** Long work as it happens: every change of every run, by server-sent events, and one run with its log. */
import { SvelteMap } from 'svelte/reactivity';
import type { Run, RunLogLine } from '../../server/lib/run-schema.ts';
import { API } from './client.ts';
import { getOwnRestore, getOwnRestoreLog, getRun, getRunLog, listRuns } from './protection.ts';

const FINAL: readonly Run['state'][] = ['succeeded', 'partial', 'failed', 'cancelled'];
const RETRY_MS = 5_000;
/** A restore that is asked after, not followed. */
const LOOK_EVERY_MS = 1_500;
const LOG_LINES = 2_000;

export function isFinal(run: Run): boolean {
  return FINAL.includes(run.state);
}

const known = new SvelteMap<string, Run>();
let listeners: readonly ((run: Run) => void)[] = [];

function note(run: Run): void {
  known.set(run.id, run);
  for (const listener of listeners) listener(run);
}

export const runs = {
  /** Queued and running, oldest first. */
  get active(): Run[] {
    return [...known.values()]
      .filter((run) => !isFinal(run))
      .sort((a, b) => a.createdAt.localeCompare(b.createdAt));
  },
  find(id: string): Run | undefined {
    return known.get(id);
  },
  note,
};

/** Calls `listener` when a run reaches a final state. Call while a component starts. */
export function onRunEnd(listener: (run: Run) => void): void {
  $effect(() => {
    const each = (run: Run): void => {
      if (isFinal(run)) listener(run);
    };
    listeners = [...listeners, each];
    return () => {
      listeners = listeners.filter((other) => other !== each);
    };
  });
}

/** Follows all runs until it is stopped. For people who may read operations. */
export function followRuns(): () => void {
  let stopped = false;
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const catchUp = async (): Promise<void> => {
    try {
      const [running, queued] = await Promise.all([
        listRuns({ state: 'running' }),
        listRuns({ state: 'queued' }),
      ]);
      const live = [...running, ...queued].map((run) => run.id);
      for (const run of [...running, ...queued]) note(run);
      // What ended while nobody listened is asked for one by one.
      for (const run of known.values())
        if (!isFinal(run) && !live.includes(run.id)) note(await getRun(run.id));
    } catch {
      // The next reconnection asks again; the page shows its own error.
    }
  };
  const open = (): void => {
    if (stopped) return;
    source = new EventSource(`${API}/events`);
    source.onopen = () => void catchUp();
    source.addEventListener('run', (event: MessageEvent<string>) => {
      note(JSON.parse(event.data) as Run);
    });
    source.onerror = () => {
      if (source?.readyState === EventSource.CLOSED) timer = setTimeout(open, RETRY_MS);
    };
  };
  open();
  return () => {
    stopped = true;
    clearTimeout(timer);
    source?.close();
    known.clear();
  };
}

export interface WatchedRun {
  readonly run: Run | undefined;
  readonly log: readonly RunLogLine[];
}

/**
 * One run with its log, live until it ends. Call while a component starts.
 *
 * @param own it is a restore that the person asked for, who may see no other work.
 */
export function watchRun(id: () => string | undefined, own: () => boolean): WatchedRun {
  let run = $state.raw<Run>();
  let log = $state.raw<readonly RunLogLine[]>([]);

  $effect(() => {
    const runId = id();
    run = undefined;
    log = [];
    if (runId === undefined) return;
    const follow = own() ? askAfterOne : followOne;
    return follow(runId, {
      onRun(next) {
        run = next;
        note(next);
      },
      onLog(lines) {
        const last = log.at(-1)?.number ?? -1;
        log = [...log, ...lines.filter((line) => line.number > last)].slice(-LOG_LINES);
      },
    });
  });
  return {
    get run() {
      return run;
    },
    get log() {
      return log;
    },
  };
}

interface RunListener {
  onRun(run: Run): void;
  onLog(lines: readonly RunLogLine[]): void;
}

function askAfterOne(id: string, listener: RunListener): () => void {
  const controller = new AbortController();
  const { signal } = controller;
  const look = async (): Promise<void> => {
    let ended = false;
    try {
      const [run, log] = await Promise.all([getOwnRestore(id, signal), getOwnRestoreLog(id, signal)]);
      listener.onLog(log);
      listener.onRun(run);
      ended = isFinal(run);
    } catch {
      // Asked again.
    }
    if (!ended && !signal.aborted) setTimeout(() => void look(), LOOK_EVERY_MS);
  };
  void look();
  return () => controller.abort();
}

function followOne(id: string, listener: RunListener): () => void {
  const controller = new AbortController();
  let source: EventSource | undefined;
  const read = async (): Promise<Run | undefined> => {
    try {
      const [run, log] = await Promise.all([getRun(id, controller.signal), getRunLog(id, controller.signal)]);
      listener.onLog(log);
      listener.onRun(run);
      return run;
    } catch {
      return undefined;
    }
  };
  const open = (): void => {
    if (controller.signal.aborted) return;
    source = new EventSource(`${API}/runs/${id}/events`);
    source.addEventListener('run', (event: MessageEvent<string>) => {
      const run = JSON.parse(event.data) as Run;
      listener.onRun(run);
      if (!isFinal(run)) return;
      source?.close();
      // The last lines may have come after the last event that this browser saw.
      void read();
    });
    source.addEventListener('log', (event: MessageEvent<string>) => {
      listener.onLog([JSON.parse(event.data) as RunLogLine]);
    });
    source.onerror = () => {
      source?.close();
      setTimeout(() => void start(), RETRY_MS);
    };
  };
  const start = async (): Promise<void> => {
    if (controller.signal.aborted) return;
    const run = await read();
    if (run === undefined || !isFinal(run)) open();
  };
  void start();
  return () => {
    controller.abort();
    source?.close();
  };
}
