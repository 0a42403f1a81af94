/** The names of repository objects: built and taken apart in one place. @see FORMAT.md "Names" */
import { createHash } from 'node:crypto';

/** A numbered object by its number and the SHA-256 of its stored bytes. */
export interface ObjectReference {
  number: number;
  /** Hex. */
  sha256: string;
}

export type NumberedKind = 'keys' | 'index' | 'snapshots' | 'heads' | 'reports';

const SUFFIX: Record<NumberedKind, string> = {
  keys: '.age',
  index: '.age',
  snapshots: '.age',
  heads: '',
  reports: '.age',
};
const NUMBERED = /^(keys|index|snapshots|heads)\/(0|[1-9]\d{0,15})-([0-9a-f]{64})(\.age)?$/;
const PACK = /^packs\/([0-9a-f]{2})\/([0-9a-f]{64})\.age$/;
const WRITER = /^writers\/([1-9]\d{0,15})$/;
const KEYRING = /^keyring\/(0|[1-9]\d{0,15})(?:\+([1-9]\d{0,15}))?-([0-9a-f]{64})\.age$/;

export function numberedName(kind: Exclude<NumberedKind, 'reports'>, reference: ObjectReference): string {
  return `${kind}/${String(reference.number)}-${reference.sha256}${SUFFIX[kind]}`;
}

/** @returns undefined for a name that is not one of this kind. */
export function parseNumberedName(
  kind: Exclude<NumberedKind, 'reports'>,
  name: string,
): ObjectReference | undefined {
  const match = NUMBERED.exec(name);
  const [, found, number, sha256, suffix] = match ?? [];
  if (found !== kind || number === undefined || sha256 === undefined) return undefined;
  if ((suffix ?? '') !== SUFFIX[kind] || !Number.isSafeInteger(Number(number))) return undefined;
  return { number: Number(number), sha256 };
}

export function packName(id: string): string {
  return `packs/${id.slice(0, 2)}/${id}.age`;
}

/** @returns the pack's id, or undefined. */
export function parsePackName(name: string): string | undefined {
  const [, folder, id] = PACK.exec(name) ?? [];
  return id !== undefined && folder === id.slice(0, 2) ? id : undefined;
}

export function writerName(number: number): string {
  return `writers/${String(number)}`;
}

export function parseWriterName(name: string): number | undefined {
  const number = Number(WRITER.exec(name)?.[1]);
  return Number.isSafeInteger(number) ? number : undefined;
}

export function reportName(reportId: string, stored: Uint8Array): string {
  return `reports/${reportId}-${sha256Of(stored)}.age`;
}

export interface KeyringName {
  epoch: number;
  /** 0 for a base, 1 and up for its additions. */
  addition: number;
  sha256: string;
}

export function parseKeyringName(name: string): KeyringName | undefined {
  const [, epoch, addition, sha256] = KEYRING.exec(name) ?? [];
  if (epoch === undefined || sha256 === undefined) return undefined;
  const parsed = { epoch: Number(epoch), addition: Number(addition ?? 0), sha256 };
  return Number.isSafeInteger(parsed.epoch) && Number.isSafeInteger(parsed.addition) ? parsed : undefined;
}

const ANCHOR = /^anchors\/(0|[1-9]\d{0,15})-([0-9a-f]{64})$/;

/** Its number is the size of the audit log. */
export function anchorName({ number, sha256 }: ObjectReference): string {
  return `anchors/${String(number)}-${sha256}`;
}

export function parseAnchorName(name: string): ObjectReference | undefined {
  const [, number, sha256] = ANCHOR.exec(name) ?? [];
  if (number === undefined || sha256 === undefined || !Number.isSafeInteger(Number(number))) return undefined;
  return { number: Number(number), sha256 };
}

/** Hex SHA-256. */
export function sha256Of(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}
