/** Shapes of long work as the API shows it. */
import { Type, type Static } from 'typebox';
import { Id, Instant, Problem } from './shapes.ts';

export const RunState = Type.Union([
  Type.Literal('queued'),
  Type.Literal('running'),
  Type.Literal('succeeded'),
  Type.Literal('partial'),
  Type.Literal('failed'),
  Type.Literal('cancelled'),
]);
export type RunState = Static<typeof RunState>;

export const RunKind = Type.Union([
  Type.Literal('snapshot'),
  Type.Literal('restore-test'),
  Type.Literal('restore-file'),
  Type.Literal('restore-folder'),
  Type.Literal('restore-directory'),
  Type.Literal('verify'),
  Type.Literal('prune'),
  Type.Literal('copy'),
  Type.Literal('update-rehearsal'),
  Type.Literal('publish-keys'),
  Type.Literal('audit-anchor'),
  Type.Literal('audit-verify'),
]);
export type RunKind = Static<typeof RunKind>;

export const RunProgress = Type.Object({
  filesDone: Type.Optional(Type.Number()),
  filesTotal: Type.Optional(Type.Number()),
  bytesDone: Type.Optional(Type.Number()),
  bytesTotal: Type.Optional(Type.Number()),
  bytesAdded: Type.Optional(Type.Number()),
  bytesPerSecond: Type.Optional(Type.Number()),
  /** Steps in order with their state, for kinds that have a fixed list. */
  steps: Type.Optional(
    Type.Array(
      Type.Object({
        id: Type.String(),
        label: Type.String(),
        state: Type.Union([
          Type.Literal('waiting'),
          Type.Literal('running'),
          Type.Literal('passed'),
          Type.Literal('warned'),
          Type.Literal('failed'),
          Type.Literal('skipped'),
        ]),
        durationMs: Type.Optional(Type.Number()),
        note: Type.Optional(Type.String()),
      }),
    ),
  ),
});
export type RunProgress = Static<typeof RunProgress>;

export const Run = Type.Object({
  id: Id,
  kind: RunKind,
  state: RunState,
  cause: Type.Union([
    Type.Literal('person'),
    Type.Literal('schedule'),
    Type.Literal('catch-up'),
    Type.Literal('console'),
  ]),
  step: Type.Union([Type.String(), Type.Null()]),
  progress: RunProgress,
  /** Kind-specific: `{ snapshotId }`, `{ restoreTestId, state }` … */
  result: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()]),
  error: Type.Union([Problem, Type.Null()]),
  createdAt: Instant,
  startedAt: Type.Union([Instant, Type.Null()]),
  finishedAt: Type.Union([Instant, Type.Null()]),
  cancelRequested: Type.Boolean(),
  /** When it last did something that can be seen. */
  progressedAt: Type.Union([Instant, Type.Null()]),
  /** Why the appliance itself cancelled it. */
  stoppedBecause: Type.Union([Type.String(), Type.Null()]),
});
export type Run = Static<typeof Run>;

export const RunLogLine = Type.Object({
  number: Type.Integer(),
  at: Instant,
  level: Type.Union([Type.Literal('info'), Type.Literal('warn'), Type.Literal('error')]),
  message: Type.String(),
});
export type RunLogLine = Static<typeof RunLogLine>;
