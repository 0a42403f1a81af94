/** Where a page of a list ended that is ordered by time: what a reader hands back to get the next one. */
import { HoldfastError } from './errors.ts';

export interface PageMark {
  at: Date;
  /** Tells rows of the same instant apart: a UUID or a number. */
  id: string;
}

const MARKS = {
  uuid: /^(-?\d{1,15})\/([0-9a-f-]{36})$/,
  number: /^(-?\d{1,15})\/([1-9]\d{0,17})$/,
};

/** Opaque to whoever holds it. */
export function writePageMark({ at, id }: PageMark): string {
  return Buffer.from(`${at.getTime()}/${id}`).toString('base64url');
}

/**
 * @param rowIds what the list's rows are told apart by.
 * @throws HoldfastError `invalid_input` for what no page handed out.
 */
export function readPageMark(cursor: string, rowIds: keyof typeof MARKS = 'uuid'): PageMark {
  const text = Buffer.from(cursor, 'base64url').toString('latin1');
  const [, ms, id] = MARKS[rowIds].exec(text) ?? [];
  if (ms !== undefined && id !== undefined) return { at: new Date(Number(ms)), id };
  throw new HoldfastError('invalid_input', 'This page mark is not one of ours', {
    hint: 'Start again from the first page.',
  });
}
