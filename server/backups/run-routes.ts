/** Long work as anyone with the right may watch it, and when it is due. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import { Type, type Static } from 'typebox';
import { recordAudit, type Actor } from '../audit/index.ts';
import { isStillSignedIn } from '../identity/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { startEventStream, type EventStream } from '../lib/http.ts';
import { HoldfastError } from '../lib/errors.ts';
import { waitsUntil } from '../lib/hours.ts';
import { changeSchedule, hoursOf, listSchedules, type ScheduleName } from '../lib/schedules.ts';
import type { RunListener } from '../lib/run-listener.ts';
import { Run, RunKind, RunLogLine, RunState } from '../lib/run-schema.ts';
import { FINAL_STATES, findRun, getRun, listRunLog, listRuns } from '../lib/runs.ts';
import { Id } from '../lib/shapes.ts';
import type { Schedules } from '../lib/tables.ts';
import type { Selectable } from 'kysely';
import { cancelOwnRestore, cancelRun, getOwnRestore } from './cancel-run.ts';
import { inputOfReadBack } from './read-back/keep-cycle.ts';
import { PROPOSED_DAYS } from './read-back/read-back-queries.ts';
import { Schedule, ScheduleChange, ScheduleName as ScheduleNames } from './schema.ts';

export interface RunRouteDeps {
  db: Database;
  clock: Clock;
  runListener: RunListener;
}

const tags = ['Jobs'];
const RunParams = Type.Object({ id: Id });

export function runRoutes(deps: RunRouteDeps): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.get(
      '/runs',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          tags,
          summary: 'Jobs, newest first',
          querystring: Type.Object({
            kind: Type.Optional(RunKind),
            state: Type.Optional(RunState),
            open: Type.Optional(Type.Boolean({ description: 'Only those queued or running' })),
            limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
          }),
          response: { 200: Type.Object({ items: Type.Array(Run) }) },
        },
      },
      async ({ query }) => ({
        items: await listRuns(deps.db, {
          kind: query.kind,
          state: query.state,
          open: query.open ?? false,
          limit: query.limit ?? 50,
        }),
      }),
    );
    app.get(
      '/runs/:id',
      {
        config: { access: { right: 'operations.read' } },
        schema: { tags, summary: 'One job', params: RunParams, response: { 200: Run } },
      },
      ({ params }) => getRun(deps.db, params.id),
    );
    app.get(
      '/runs/:id/log',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          tags,
          summary: 'What a job said',
          params: RunParams,
          response: { 200: Type.Object({ items: Type.Array(RunLogLine) }) },
        },
      },
      async ({ params }) => {
        const { id } = await getRun(deps.db, params.id);
        return { items: await listRunLog(deps.db, id) };
      },
    );
    app.post(
      '/runs/:id/cancel',
      {
        config: { access: { right: 'backups.run' } },
        schema: { tags, summary: 'Cancel a job', params: RunParams, response: { 200: Run } },
      },
      ({ params, actor }) => cancelRun(deps, actor, params.id),
    );
    app.get(
      '/restores/:id',
      {
        config: { access: { right: 'files.read' }, background: true },
        schema: { tags, summary: 'A restore that one asked for', params: RunParams, response: { 200: Run } },
      },
      ({ params, person }) => getOwnRestore(deps.db, person, params.id),
    );
    app.get(
      '/restores/:id/log',
      {
        config: { access: { right: 'files.read' }, background: true },
        schema: {
          tags,
          summary: 'What a restore that one asked for said',
          params: RunParams,
          response: { 200: Type.Object({ items: Type.Array(RunLogLine) }) },
        },
      },
      async ({ params, person }) => {
        const { id } = await getOwnRestore(deps.db, person, params.id);
        return { items: await listRunLog(deps.db, id) };
      },
    );
    app.post(
      '/restores/:id/cancel',
      {
        config: { access: { right: 'files.write' } },
        schema: {
          tags,
          summary: 'Cancel a restore that one asked for',
          params: RunParams,
          response: { 200: Run },
        },
      },
      ({ params, person, actor }) => cancelOwnRestore(deps, { ...person, actor }, params.id),
    );
    app.get(
      '/runs/:id/events',
      {
        config: { access: { right: 'operations.read' }, background: true },
        schema: { tags, summary: 'Live progress of one job, as server-sent events', params: RunParams },
      },
      async (request, reply) => {
        await getRun(deps.db, request.params.id);
        followRun(deps, request.params.id, startEventStream(request, reply, stillSignedIn(deps, request)));
      },
    );
    app.get(
      '/events',
      {
        config: { access: { right: 'operations.read' }, background: true },
        schema: { tags, summary: 'Every change of any job, as server-sent events' },
      },
      async (request, reply) => {
        followAll(deps, startEventStream(request, reply, stillSignedIn(deps, request)));
      },
    );
    app.get(
      '/schedules',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          tags: ['Schedules'],
          summary: 'What is due when',
          response: { 200: Type.Object({ items: Type.Array(Schedule) }) },
        },
      },
      async () => ({ items: (await listSchedules(deps.db)).map((row) => toSchedule(row, deps.clock.now())) }),
    );
    app.put(
      '/schedules/:name',
      {
        config: { access: { right: 'backups.manage' } },
        schema: {
          tags: ['Schedules'],
          summary: 'Change when something is due',
          params: Type.Object({ name: ScheduleNames }),
          body: ScheduleChange,
          response: { 200: Schedule },
        },
      },
      ({ params, body, actor }) => setSchedule(deps, actor, params.name, body),
    );
  };
}

async function setSchedule(
  deps: RunRouteDeps,
  actor: Actor,
  name: ScheduleName,
  change: Static<typeof ScheduleChange>,
): Promise<Schedule> {
  const { cron, enabled, copy, days, hours } = change;
  if (copy !== undefined && !takesCopy(name)) {
    throw new HoldfastError('invalid_input', 'Only restore tests that run by themselves choose a copy');
  }
  if (days !== undefined && name !== 'verify') {
    throw new HoldfastError('invalid_input', 'Only reading back takes a number of days');
  }
  if (hours != null && name === 'restore-drill') {
    throw new HoldfastError('invalid_input', 'A recovery drill has no hours: people begin it', {
      hint: 'Its schedule only says when they are asked for it.',
    });
  }
  const row = await writeTransaction(deps.db, async (tx) => {
    const input =
      name === 'verify'
        ? await inputOfReadBack(tx, deps.clock, { enabled, days })
        : copy === undefined
          ? undefined
          : { copy };
    const changed = await changeSchedule(tx, deps.clock, name, { cron, enabled, input, hours });
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.schedule.changed',
      objectType: 'schedule',
      objectId: name,
      detail: { cron, enabled, ...input, ...(hours === undefined ? {} : { hours }) },
    });
    return changed;
  });
  return toSchedule(row, deps.clock.now());
}

function takesCopy(name: string): boolean {
  return name === 'restore-test' || name === 'restore-test-full';
}

function toSchedule(row: Selectable<Schedules>, now: Date): Schedule {
  const due = row.enabled && row.next_due_at !== null && row.next_due_at <= now;
  return {
    name: row.name as ScheduleName,
    cron: row.cron,
    enabled: row.enabled,
    nextDueAt: row.next_due_at?.toISOString() ?? null,
    lastDueAt: row.last_due_at?.toISOString() ?? null,
    copy: takesCopy(row.name) ? ((row.input as { copy?: Schedule['copy'] }).copy ?? 'latest') : null,
    days: row.name === 'verify' ? ((row.input as { days?: number }).days ?? PROPOSED_DAYS) : null,
    hours: hoursOf(row),
    waitsUntil: due ? (waitsUntil(hoursOf(row), now)?.toISOString() ?? null) : null,
  };
}

/** The console has no session; a person's stream ends with theirs. */
function stillSignedIn(deps: RunRouteDeps, request: FastifyRequest): () => Promise<boolean> {
  if (request.signedIn === undefined) return () => Promise.resolve(true);
  const { person } = request;
  return () => isStillSignedIn(deps, person);
}

/** Sends the run and its new log lines at each change; ends after the run has ended. */
function followRun(deps: RunRouteDeps, id: string, stream: EventStream): void {
  let lastLine = 0;
  const send = coalesce(async () => {
    for (const line of await listRunLog(deps.db, id, lastLine)) {
      lastLine = line.number;
      stream.send('log', line);
    }
    const run = await findRun(deps.db, id);
    if (run !== undefined) stream.send('run', run);
    if (run === undefined || FINAL_STATES.includes(run.state)) stream.end();
  }, stream);
  const stop = deps.runListener.subscribe((changed) => {
    if (changed === id || changed === '') send();
  });
  stream.closed.addEventListener('abort', stop, { once: true });
  send();
}

function followAll(deps: RunRouteDeps, stream: EventStream): void {
  const changed = new Set<string>();
  const send = coalesce(async () => {
    const ids = [...changed];
    changed.clear();
    for (const id of ids) {
      const run = await findRun(deps.db, id);
      if (run !== undefined) stream.send('run', run);
    }
  }, stream);
  const stop = deps.runListener.subscribe((id) => {
    if (id !== '') changed.add(id);
    send();
  });
  stream.closed.addEventListener('abort', stop, { once: true });
  void listRuns(deps.db, { open: true, limit: 20 }).then(
    (runs) => runs.forEach((run) => stream.send('run', run)),
    () => stream.end(),
  );
}

/** Calls `act` once for any number of calls while it is at work; a failure ends the stream, the browser asks again. */
function coalesce(act: () => Promise<void>, stream: EventStream): () => void {
  let busy = false;
  let calls = 0;
  const perform = async () => {
    busy = true;
    let answered: number;
    do {
      answered = calls;
      await act();
    } while (calls > answered && !stream.closed.aborted);
    busy = false;
  };
  return () => {
    calls += 1;
    if (!busy) void perform().catch(() => stream.end());
  };
}
