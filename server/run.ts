/** One run in a process of its own: `node server/run.ts <run id>`, started by the worker. */
import { findRunFunction } from './jobs.ts';
import { openRunDeps } from './run-deps.ts';
import { systemClock } from './lib/clock.ts';
import { loadConfig } from './lib/config.ts';
import { HoldfastError, messageOf } from './lib/errors.ts';
import { createLog } from './lib/log.ts';
import type { Run, RunKind, RunProgress, RunState } from './lib/run-schema.ts';
import { appendRunLog, settleRun, updateRun, type RunContext, type RunOutcome } from './lib/runs.ts';
import type { Problem } from './lib/shapes.ts';
import type { JsonObject } from './lib/tables.ts';

/** Progress is written at most this often. */
const REPORT_EVERY_MS = 500;

// From the first moment on: what comes while the parts are opened counts, too.
const cancelled = new AbortController();
process.on('message', (message) => {
  if (typeof message === 'object' && message !== null && 'cancel' in message) cancelled.abort(cancelError());
});
// Without the worker nobody watches over this; a cancel disconnects too, after it has said so.
let interrupted = false;
process.once('disconnect', () => {
  interrupted = !cancelled.signal.aborted;
  cancelled.abort(cancelError());
});

const runId = process.argv[2] ?? '';
const config = loadConfig();
const log = createLog(config.logLevel, 'run').child({ run: runId });
const deps = await openRunDeps(config, log, runId);
const row = await deps.db.selectFrom('runs').selectAll().where('id', '=', runId).executeTakeFirstOrThrow();

const INTERRUPTED: Problem = {
  code: 'unavailable',
  message: 'The worker of the appliance stopped while this was running',
  hint: 'Nothing that was stored is lost. Start it again; what is already there is used.',
};

const reporter = startReporter();
const context: RunContext = {
  runId,
  kind: row.kind as RunKind,
  input: row.input as JsonObject,
  cause: row.cause as Run['cause'],
  requestedBy: row.requested_by ?? undefined,
  signal: cancelled.signal,
  report: reporter.report,
  step: reporter.step,
  log: async (level, message) => {
    log[level](message);
    await appendRunLog(deps.db, systemClock, runId, { level, message });
  },
};

const ending = await perform();
await reporter.stop();
await settleRun(deps.db, systemClock, runId, ending);
await deps.close();
process.exit(0);

async function perform(): Promise<{ state: RunState; result?: JsonObject; error?: Problem }> {
  try {
    const outcome: RunOutcome = await findRunFunction(context.kind)(deps, context);
    return outcome;
  } catch (error) {
    if (interrupted) return { state: 'failed', error: INTERRUPTED };
    if (cancelled.signal.aborted) {
      await context.log('warn', 'Cancelled');
      return { state: 'cancelled' };
    }
    log.error(
      { err: error, detail: error instanceof HoldfastError ? error.detail : undefined },
      messageOf(error),
    );
    // The line is worth less than the ending, which is recorded even when the database has to come back first.
    await context.log('error', describe(error)).catch(() => undefined);
    return { state: 'failed', error: problemOf(error) };
  }
}

function describe(error: unknown): string {
  if (!(error instanceof HoldfastError))
    return 'Something went wrong inside the appliance; the log says more';
  return error.hint === undefined ? error.message : `${error.message}. ${error.hint}`;
}

function problemOf(error: unknown): Problem {
  if (!(error instanceof HoldfastError)) {
    return {
      code: 'internal',
      message: 'Something went wrong inside the appliance',
      hint: 'Look in its log for this run.',
    };
  }
  return {
    code: error.code,
    message: error.message,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  };
}

function cancelError(): HoldfastError {
  return new HoldfastError('cancelled', 'The run was cancelled');
}

function startReporter() {
  let pending: RunProgress | undefined;
  let writing = Promise.resolve();
  const write = (change: { step?: string; progress?: RunProgress }) => {
    writing = writing
      .then(() => updateRun(deps.db, systemClock, runId, change))
      .then(() => undefined)
      .catch((error: unknown) => log.warn({ err: error }, 'Progress could not be written'));
    return writing;
  };
  const flush = () => {
    if (pending === undefined) return;
    const progress = pending;
    pending = undefined;
    void write({ progress });
  };
  const timer = setInterval(flush, REPORT_EVERY_MS);
  return {
    report: (progress: RunProgress) => {
      pending = progress;
    },
    step: async (name: string) => {
      flush();
      await write({ step: name });
    },
    stop: async () => {
      clearInterval(timer);
      flush();
      await writing;
    },
  };
}
