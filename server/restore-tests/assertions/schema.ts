/** Shapes of what people ask of a restored database. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';

/** More would make a test of minutes one of an hour. */
export const MOST_ASSERTIONS = 50;

const Comparison = Type.Union([Type.Literal('at-least'), Type.Literal('at-most'), Type.Literal('equal')]);
export type Comparison = Static<typeof Comparison>;

const Amount = Type.Number({ minimum: -1e15, maximum: 1e15 });

/** What the answer must be: so many rows, one number, or one `true`. */
export const Expected = Type.Union([
  Type.Object({
    of: Type.Literal('rows'),
    is: Comparison,
    value: Type.Integer({ minimum: 0, maximum: 1_000_000 }),
  }),
  Type.Object({ of: Type.Literal('number'), is: Comparison, value: Amount }),
  Type.Object({ of: Type.Literal('true') }),
]);
export type Expected = Static<typeof Expected>;

/** In which tests it is asked: in every one, in full ones, in those that a recovery kit opens. */
export const RunsIn = Type.Union([Type.Literal('every'), Type.Literal('full'), Type.Literal('kit')]);
export type RunsIn = Static<typeof RunsIn>;

export const Question = Type.Object({
  sql: Type.String({
    minLength: 1,
    maxLength: 4_000,
    description: 'One SELECT over the tables that may be asked',
  }),
  expected: Expected,
});
export type Question = Static<typeof Question>;

export const NewAssertion = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 120, pattern: '^[^\\u0000-\\u001f\\u007f]+$' }),
  ...Question.properties,
  runsIn: RunsIn,
  enabled: Type.Boolean(),
});
export type NewAssertion = Static<typeof NewAssertion>;

export const AssertionChange = Type.Object({
  ...NewAssertion.properties,
  version: Type.Integer({
    minimum: 1,
    description: 'The one that was changed; another means that somebody was quicker',
  }),
});
export type AssertionChange = Static<typeof AssertionChange>;

export const AssertionVersion = Type.Object({
  ...NewAssertion.properties,
  version: Type.Integer(),
  changedAt: Instant,
  changedBy: Type.Union([Type.Object({ id: Id, name: Type.String() }), Type.Null()]),
  removed: Type.Boolean(),
});
export type AssertionVersion = Static<typeof AssertionVersion>;

export const Assertion = Type.Object({
  id: Id,
  ...Type.Omit(AssertionVersion, ['removed']).properties,
  sqlSha256: Type.String({ description: 'Hex; a report names the statement by it' }),
});
export type Assertion = Static<typeof Assertion>;

/** What a statement may read. */
export const AskableTable = Type.Object({ table: Type.String(), columns: Type.Array(Type.String()) });

export const AssertionList = Type.Object({
  items: Type.Array(Assertion),
  most: Type.Integer(),
  tables: Type.Array(AskableTable),
  functions: Type.Array(Type.String()),
});
export type AssertionList = Static<typeof AssertionList>;

export const AssertionOrder = Type.Object({
  ids: Type.Array(Id, {
    maxItems: MOST_ASSERTIONS,
    uniqueItems: true,
    description: 'All of them, as they are to be asked',
  }),
});

/** How one was answered: nothing of what the rows hold but the count or the number itself. */
export interface Answer {
  passed: boolean;
  expected: string;
  found: string;
}

/** As a test is given it. */
export interface AskedAssertion {
  id: string;
  version: number;
  name: string;
  sql: string;
  expected: Expected;
}
