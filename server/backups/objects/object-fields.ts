/** Reads single fields of signed objects. A signed object may still come from a faulty writer, so each field is checked. */
import { HoldfastError } from '../../lib/errors.ts';

export type JsonRecord = Record<string, unknown>;

const HEX_32 = /^[0-9a-f]{64}$/;
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;

/** The error for an object that is signed but makes no sense, or is cut or altered. */
export function damagedObject(detail: string, cause?: unknown): HoldfastError {
  return new HoldfastError('integrity_failure', `An object of the repository is damaged: ${detail}`, {
    hint: 'It is not used. Other copies of the repository may be whole.',
    cause,
  });
}

export function readRecord(value: unknown): JsonRecord {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw damagedObject('a line is not an object');
  }
  return value as JsonRecord;
}

export function readText(record: JsonRecord, key: string, pattern?: RegExp): string {
  const value = record[key];
  if (typeof value !== 'string' || (pattern !== undefined && !pattern.test(value))) {
    throw damagedObject(`the field ${key} is not valid`);
  }
  return value;
}

/** Lower-case hex of 32 bytes. */
export function readHash(record: JsonRecord, key: string): string {
  return readText(record, key, HEX_32);
}

/** RFC 3339, UTC. */
export function readInstant(record: JsonRecord, key: string): string {
  return readText(record, key, INSTANT);
}

/** A whole number from 0 to 2^53 - 1. */
export function readCount(record: JsonRecord, key: string): number {
  const value = record[key];
  if (!isCount(value)) throw damagedObject(`the field ${key} is not a count`);
  return value;
}

export function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

export function isHash(value: unknown): value is string {
  return typeof value === 'string' && HEX_32.test(value);
}

export function readList(record: JsonRecord, key: string): unknown[] {
  const value = record[key];
  if (!Array.isArray(value)) throw damagedObject(`the field ${key} is not a list`);
  return value;
}
