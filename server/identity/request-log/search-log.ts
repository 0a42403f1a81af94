/** Looking through the log of requests, from its newest line back. A search stops after a second and says where it goes on. */
import { HoldfastError } from '../../lib/errors.ts';
import type { Clock } from '../../lib/clock.ts';
import type { LogFiles } from './log-files.ts';
import type { LoggedRequest, RequestPage, RequestQuery } from './schema.ts';

const SEARCH_MS = 1_000;

/** @throws HoldfastError `invalid_input` for a cursor that is none. */
export async function searchLog(files: LogFiles, clock: Clock, query: RequestQuery): Promise<RequestPage> {
  const mark = readCursor(query.cursor);
  const [fromMs, toMs] = [instantOf(query.from, 0), instantOf(query.to, Infinity)];
  const deadlineMs = clock.monotonicMs() + SEARCH_MS;
  const limit = query.limit ?? 50;
  const items: LoggedRequest[] = [];
  let newerStartMs = Infinity;
  for (const segment of await files.segments()) {
    const past = mark !== undefined && segment.startMs > mark.startMs;
    if (past || segment.startMs >= toMs) {
      newerStartMs = segment.startMs;
      continue;
    }
    if (newerStartMs < fromMs) break;
    newerStartMs = segment.startMs;
    const lines = await files.read(segment);
    const end = segment.startMs === mark?.startMs ? Math.min(mark.line, lines.length) : lines.length;
    for (let line = end - 1; line >= 0; line -= 1) {
      const found = readLine(lines[line] ?? '', query);
      if (found === undefined) continue;
      const atMs = Date.parse(found.at);
      if (atMs < fromMs || atMs >= toMs) continue;
      items.push(found);
      if (items.length === limit) return pageOf(items, segment.startMs, line, atMs);
    }
    // Others have waited for this file to be looked through.
    if (clock.monotonicMs() > deadlineMs) return pageOf(items, segment.startMs, 0, segment.startMs);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { items, nextCursor: null, searchedTo: null };
}

function pageOf(items: LoggedRequest[], startMs: number, line: number, atMs: number): RequestPage {
  return { items, nextCursor: `${startMs}.${line}`, searchedTo: new Date(atMs).toISOString() };
}

function readCursor(cursor: string | undefined): { startMs: number; line: number } | undefined {
  if (cursor === undefined) return undefined;
  const [, start, line] = /^(\d{1,15})\.(\d{1,9})$/.exec(cursor) ?? [];
  if (line === undefined) throw new HoldfastError('invalid_input', 'This cursor is not valid');
  return { startMs: Number(start), line: Number(line) };
}

function instantOf(text: string | undefined, otherwise: number): number {
  return text === undefined ? otherwise : Date.parse(text);
}

/** The request on a line that fits; most lines are passed over before they are read as JSON. */
function readLine(line: string, query: RequestQuery): LoggedRequest | undefined {
  for (const part of [query.id, query.who, query.address]) {
    if (part !== undefined && !line.includes(part)) return undefined;
  }
  const entry = parseLine(line);
  if (entry === undefined) return undefined;
  const { id, who, route, method, status, address } = query;
  const fits =
    (id === undefined || entry.id === id) &&
    (who === undefined || entry.who === who) &&
    (address === undefined || entry.address === address) &&
    (method === undefined || entry.method === method) &&
    (route === undefined || (entry.route ?? '').includes(route)) &&
    (status === undefined || new RegExp(`^${status.replace('xx', '..')}$`).test(String(entry.status)));
  return fits ? entry : undefined;
}

/** Names are short, because there are many lines. */
export function writeLine(entry: LoggedRequest): string {
  const { id, at, method, route, status, code, ms, receivedBytes, sentBytes, address, who, whoKind } = entry;
  const rest = [code, ms, receivedBytes, sentBytes, address, who, whoKind, entry.cutOff ? 1 : 0];
  return JSON.stringify([id, Date.parse(at), method, route, status, ...rest]);
}

/** Undefined for a line that a kill tore. */
export function parseLine(line: string): LoggedRequest | undefined {
  if (!line.startsWith('[') || !line.endsWith(']')) return undefined;
  try {
    const parts = JSON.parse(line) as [string, number, string, string | null, number, ...unknown[]];
    if (parts.length !== 13) return undefined;
    const [id, atMs, method, route, status] = parts;
    const [code, ms, receivedBytes, sentBytes, address, who, whoKind, cut] = parts.slice(5) as [
      ...[string | null, number, number, number, string | null, string | null, string, number],
    ];
    return {
      ...{ id, at: new Date(atMs).toISOString(), method, route, status, code, ms, receivedBytes, sentBytes },
      ...{ address, who, whoKind, cutOff: cut === 1 },
    };
  } catch {
    return undefined;
  }
}
