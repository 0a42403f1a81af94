/** Shapes of the register of keys and kits: who could open the backups on a day, and who keeps which kit. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';

const OrNull = <T extends Parameters<typeof Type.Union>[0][number]>(shape: T) =>
  Type.Union([shape, Type.Null()]);
const LINE = '^[^\\u0000-\\u001f\\u007f]*$';
const Day = Type.String({ format: 'date', description: 'A day (UTC), as in 2027-03-31' });
const line = (maxLength: number) => Type.String({ maxLength, pattern: LINE });

const keeping = {
  /** Who keeps it. */
  holder: line(200),
  /** Where it is kept. */
  place: line(200),
  handedOverOn: OrNull(Day),
  /** Where the record of its making or hand-over lies, such as a number of a file. */
  reference: line(200),
  note: line(500),
  /** When somebody is to look that it is still there. */
  reviewOn: OrNull(Day),
};

export const Keeping = Type.Object({
  id: Id,
  ...keeping,
  recordedAt: Instant,
});
export type Keeping = Static<typeof Keeping>;

export const KeepingChange = Type.Object(
  {
    ...keeping,
    /** Id of the entry that this follows, as it was shown; null for the first. Refused when there is another one by then. */
    follows: OrNull(Id),
  },
  { additionalProperties: false },
);
export type KeepingChange = Static<typeof KeepingChange>;

/** What of the backups it opened on that day. */
export const Opens = Type.Union([Type.Literal('everything'), Type.Literal('part'), Type.Literal('nothing')]);
export type Opens = Static<typeof Opens>;

export const RegisteredKit = Type.Object({
  id: Id,
  state: Type.Union([Type.Literal('made'), Type.Literal('proven'), Type.Literal('retired')]),
  madeAt: OrNull(Instant),
  /** From then on it opened the backups. */
  addedAt: OrNull(Instant),
  /** Its holder showed that they have it, for the last time by that day. */
  provenAt: OrNull(Instant),
  /** A restore test that it opened passed, for the last time by that day. */
  testedAt: OrNull(Instant),
  retiredAt: OrNull(Instant),
  opens: Opens,
  /** Generations of keys that it opens. */
  generations: Type.Array(Type.Integer()),
  /** Who kept it on that day; null where nobody wrote it down. */
  keeping: OrNull(Keeping),
  /** It was written down only after that day. */
  recordedLater: Type.Boolean(),
  reviewOverdue: Type.Boolean(),
});
export type RegisteredKit = Static<typeof RegisteredKit>;

export const KeyRegister = Type.Object({
  on: Day,
  generations: Type.Array(Type.Object({ generation: Type.Integer(), madeAt: Instant })),
  kits: Type.Array(RegisteredKit),
  /** The key that the appliance itself keeps for its restore tests. */
  testIdentity: Type.Object({
    kept: Type.Boolean(),
    generations: Type.Array(Type.Integer()),
    opens: Opens,
    /** Each time that it kept one, by that day: from when to when it could itself open what. `to` is null while it lasts. */
    spans: Type.Array(
      Type.Object({ from: Instant, to: OrNull(Instant), generations: Type.Array(Type.Integer()) }),
    ),
  }),
  /** Kits that were valid that day, retired ones that still open what they were given, and the test identity. */
  couldOpen: Type.Integer(),
  /** Of them: retired. From when to when each was in use stands with it. */
  couldOpenRetired: Type.Integer(),
});
export type KeyRegister = Static<typeof KeyRegister>;

export const RegisterQuery = Type.Object({ on: Type.Optional(Day) });
export const RegisterExportQuery = Type.Object({
  on: Type.Optional(Day),
  format: Type.Optional(Type.Union([Type.Literal('csv'), Type.Literal('json')])),
});

export const RekeyRequest = Type.Object(
  {
    /** The generation in use, as it was shown. */
    follows: Type.Integer({ minimum: 1, maximum: 1000 }),
    reason: Type.String({ minLength: 1, maxLength: 500, pattern: '\\S' }),
  },
  { additionalProperties: false },
);
export type RekeyRequest = Static<typeof RekeyRequest>;

export const WriteOnlyRequest = Type.Object(
  {
    /** True: the keys by which the appliance opens its own backups are destroyed. False: a new generation begins, which it opens. */
    on: Type.Boolean(),
    ...RekeyRequest.properties,
  },
  { additionalProperties: false },
);
export type WriteOnlyRequest = Static<typeof WriteOnlyRequest>;

/** For the overview. */
export const KitSummary = Type.Object({
  valid: Type.Integer(),
  /** Of the oldest one. */
  oldestAddedAt: OrNull(Instant),
  /** The last passed restore test that a kit opened. */
  lastDrillAt: OrNull(Instant),
  /** Next day on which somebody is to look after one. */
  nextReviewOn: OrNull(Day),
  /** Since when this appliance keeps no key that opens its backups; null where it keeps one. */
  writeOnlySince: OrNull(Instant),
});
export type KitSummary = Static<typeof KitSummary>;
