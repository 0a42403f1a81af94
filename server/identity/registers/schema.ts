/** Shapes of the registers: what people have undertaken, were checked for and were trained in. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';

const strict = { additionalProperties: false };
const OrNull = <T extends Parameters<typeof Type.Union>[0][number]>(shape: T) =>
  Type.Union([shape, Type.Null()]);

export const RegisterKind = Type.Union([
  Type.Literal('confidentiality'),
  Type.Literal('background-check'),
  Type.Literal('training'),
]);
export type RegisterKind = Static<typeof RegisterKind>;

/** `replaced`: done again since. `left`: the person is not here any more; nothing is due. */
export const EntryState = Type.Union([
  Type.Literal('done'),
  Type.Literal('due'),
  Type.Literal('soon'),
  Type.Literal('overdue'),
  Type.Literal('replaced'),
  Type.Literal('left'),
]);
export type EntryState = Static<typeof EntryState>;

const LINE = '^[^\\u0000-\\u001f\\u007f]*$';
const Day = Type.String({ format: 'date', description: 'A day, as in 2027-03-31' });
const parts = {
  kind: RegisterKind,
  /** Such as `Fire safety`. */
  what: Type.String({ minLength: 1, maxLength: 200, pattern: LINE }),
  doneOn: OrNull(Day),
  /** Until when it is to be done, or, once done, until when it holds. */
  dueOn: OrNull(Day),
  /** Where the paper is, such as a number of a file. */
  reference: Type.String({ maxLength: 200, pattern: LINE }),
  note: Type.String({ maxLength: 500, pattern: LINE }),
};

export const RegisterEntry = Type.Object({
  id: Id,
  person: Type.Object({ id: Id, name: Type.String(), email: Type.String(), here: Type.Boolean() }),
  ...parts,
  state: EntryState,
  createdAt: Instant,
  changedAt: Instant,
  /** A change names it, and is refused when it is another by then. */
  version: Type.Integer(),
});
export type RegisterEntry = Static<typeof RegisterEntry>;

export const NewEntry = Type.Object({ userId: Id, ...parts }, strict);
export type NewEntry = Static<typeof NewEntry>;
export const EntryChange = Type.Object(
  { version: Type.Integer({ minimum: 1, maximum: 2_147_483_647 }), ...parts },
  strict,
);
export type EntryChange = Static<typeof EntryChange>;

export const RegisterQuery = Type.Object({
  /** Part of a name, an address, what it is, a reference or a note. */
  search: Type.Optional(Type.String({ maxLength: 200 })),
  kind: Type.Optional(RegisterKind),
  state: Type.Optional(EntryState),
  person: Type.Optional(Id),
  sort: Type.Optional(
    Type.Union([
      Type.Literal('person'),
      Type.Literal('kind'),
      Type.Literal('what'),
      Type.Literal('done'),
      Type.Literal('due'),
    ]),
  ),
  order: Type.Optional(Type.Union([Type.Literal('asc'), Type.Literal('desc')])),
  offset: Type.Optional(Type.Integer({ minimum: 0, maximum: 100_000, default: 0 })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
});
export type RegisterQuery = Static<typeof RegisterQuery>;

export const RegisterPage = Type.Object({
  items: Type.Array(RegisterEntry),
  /** How many match. */
  total: Type.Integer(),
  /** Of all, whatever is asked for. */
  overdue: Type.Integer(),
});
export type RegisterPage = Static<typeof RegisterPage>;
export const OwnRegister = Type.Object({ items: Type.Array(RegisterEntry) });

export const ImportRequest = Type.Object(
  {
    csv: Type.String({ minLength: 1, maxLength: 200_000 }),
    /** False: only says what would come in and what is wrong. */
    apply: Type.Boolean(),
  },
  strict,
);
export const ImportResult = Type.Object({
  rows: Type.Integer(),
  /** Rows that come in, or came in. */
  fresh: Type.Integer(),
  /** Rows that are equal to an entry, or to a row before: they are left out. */
  known: Type.Integer(),
  imported: Type.Integer(),
  /** How many rows are wrong; the first of them are told. */
  problemCount: Type.Integer(),
  problems: Type.Array(Type.Object({ line: Type.Integer(), message: Type.String() })),
});
export type ImportResult = Static<typeof ImportResult>;

export const RegisterSettings = Type.Object(
  {
    /** The person is reminded so many days before something is due; 0: on the day. */
    remindDays: Type.Integer({ minimum: 0, maximum: 180 }),
    /** What everybody who joins has to do, and within how many days. */
    newcomers: Type.Array(
      Type.Object(
        { kind: RegisterKind, what: parts.what, days: Type.Integer({ minimum: 0, maximum: 365 }) },
        strict,
      ),
      { maxItems: 20 },
    ),
  },
  strict,
);
export type RegisterSettings = Static<typeof RegisterSettings>;
