/** Asks an assertion and judges the answer. What it says goes into signed reports: counts, one number, or why there is none. */
import type { DatabaseAddress } from '../../lib/db.ts';
import { askStatement, MOST_ROWS, type Reply } from './ask-queries.ts';
import type { Answer, Comparison, Expected, Question } from './schema.ts';

/** Longer numbers say more than a number. */
const MOST_DIGITS = 40;

const WORDS: Record<Comparison, string> = { 'at-least': 'at least', 'at-most': 'at most', equal: 'exactly' };

/** In words, such as `at least 1 row`. Pure. */
export function describeExpected(expected: Expected): string {
  if (expected.of === 'true') return 'true';
  const amount = `${WORDS[expected.is]} ${expected.value}`;
  if (expected.of === 'number') return `a number, ${amount}`;
  return `${amount} ${expected.value === 1 ? 'row' : 'rows'}`;
}

/** @throws what cancelled it */
export async function askQuestion(
  question: Question,
  parts: { address: DatabaseAddress; seconds: number; signal: AbortSignal },
): Promise<Answer> {
  const { expected } = question;
  const reply = await askStatement({ ...parts, sql: trimStatement(question.sql), of: expected.of });
  return { expected: describeExpected(expected), ...judge(reply, expected, parts.seconds) };
}

/** One semicolon at the end is how people write it. */
export function trimStatement(sql: string): string {
  return sql.replace(/\s*;?\s*$/, '');
}

/** Pure. */
export function judge(reply: Reply, expected: Expected, seconds: number): Pick<Answer, 'passed' | 'found'> {
  const no = (found: string) => ({ passed: false, found });
  if (reply.kind === 'refused') return no(describeRefusal(reply));
  if (reply.kind === 'too-long') return no(`no answer within ${seconds} s`);
  if (reply.kind === 'too-much-memory') return no('ended: it took more than 256 MiB of memory');
  if (reply.kind === 'shape') return no(describeShape(reply, expected));
  if (reply.kind === 'rows') {
    if (expected.of !== 'rows') return no('rows');
    const found = `${reply.more ? `more than ${MOST_ROWS}` : reply.rows} ${reply.rows === 1 ? 'row' : 'rows'}`;
    const rows = reply.more ? MOST_ROWS + 1 : reply.rows;
    return { passed: compares(String(rows), expected), found };
  }
  const { value } = reply;
  if (value === null) return no('nothing: the value is null');
  if (typeof value === 'boolean') return { passed: value && expected.of === 'true', found: String(value) };
  if (expected.of !== 'number') return no('a number');
  if (value.length > MOST_DIGITS || !/^-?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(value))
    return no(`no number that can be compared (of ${MOST_DIGITS} digits at most)`);
  return { passed: compares(value, expected), found: value };
}

/** Whole numbers exactly, others as doubles. */
function compares(found: string, expected: { is: Comparison; value: number }): boolean {
  const whole = /^-?\d+$/.test(found) && Number.isInteger(expected.value);
  const [a, b] = whole ? [BigInt(found), BigInt(expected.value)] : [Number(found), expected.value];
  if (expected.is === 'at-least') return a >= b;
  return expected.is === 'at-most' ? a <= b : a === b;
}

function describeShape(reply: Extract<Reply, { kind: 'shape' }>, expected: Expected): string {
  if (reply.columns !== 1) return `${reply.columns} columns, where one is expected`;
  if (!reply.fits)
    return expected.of === 'true' ? 'a value that is not true or false' : 'a value that is not a number';
  return reply.rows === 0 ? 'no row, where one is expected' : 'more than one row, where one is expected';
}

/** By SQLSTATE. These do not depend on what rows hold; of all others only the class (its first two letters) is told. */
const REFUSALS: Record<string, string> = {
  '08P01': 'not understood: it has a parameter',
  '0A000': 'refused: it is no plain SELECT',
  '25006': 'refused: it would change something',
  '42501': 'refused: it reads or calls something that may not be asked',
  '42601': 'not understood: there is a mistake in the statement, or more than one statement',
  '42703': 'not understood: there is no such column',
  '42803': 'not understood: a column is neither grouped nor counted',
  '42804': 'not understood: the types do not fit',
  '42883': 'not understood: there is no such function or operator for these types',
  '42P01': 'not understood: there is no such table',
  '42P02': 'not understood: it has a parameter',
  '53400': 'ended: it took more than 64 MiB of temporary files',
  '57014': 'no answer within the time limit',
};

function describeRefusal({ sqlState, position }: Extract<Reply, { kind: 'refused' }>): string {
  const fixed = REFUSALS[sqlState];
  const known = fixed ?? (sqlState.startsWith('42') ? 'not understood' : 'it could not be carried out');
  const code = fixed !== undefined || sqlState.startsWith('42') ? sqlState : `class ${sqlState.slice(0, 2)}`;
  return `${known} (${code}${position === undefined ? '' : `, at character ${position}`})`;
}
