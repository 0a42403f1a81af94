/**
 * The machine's part of a support bundle. Guarantees: only what is named here leaves; log lines are kept by fields that are known to
 * hold no secret and no name, and what looks like a key, a mail address or a network address is blotted out.
 */
import { loadavg, totalmem, freemem } from 'node:os';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { runProcess } from '../../lib/spawn.ts';
import type { HostDeps } from './host-app.ts';
import { readHostState } from './host-state.ts';
import { ActorRequest, type HostState } from './schema.ts';

export interface HostSupport {
  state: HostState;
  memory: { totalBytes: number; freeBytes: number };
  load: number[];
  kernel: string;
  /** Unit, and what systemd says of it. */
  units: { unit: string; state: string }[];
  /** Newest last, blotted. */
  log: string[];
}

const TIMEOUT_MS = 20_000;
const LOG_LINES = 500;
const LOG_LIMIT_BYTES = 1024 * 1024;
/** Of our own structured lines; everything else of them stays here. */
const KEPT_FIELDS = ['time', 'level', 'component', 'msg', 'code', 'kind', 'state', 'exitCode', 'signal'];

export async function collectHostSupport(
  deps: Pick<HostDeps, 'places' | 'clock'>,
  readLog = readJournal,
): Promise<HostSupport> {
  const [state, kernel, units, log] = await Promise.all([
    readHostState(deps),
    say('uname', ['-sr']),
    listUnits(),
    readLog(),
  ]);
  return {
    state,
    memory: { totalBytes: totalmem(), freeBytes: freemem() },
    load: loadavg(),
    kernel: kernel.trim(),
    units,
    log: log.map(blotLine),
  };
}

export const supportRoutes =
  (deps: Pick<HostDeps, 'places' | 'clock' | 'journal'>): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.post('/support-bundle', { schema: { body: ActorRequest } }, () => collectHostSupport(deps));
  };

/** One line of the log as it may leave. */
export function blotLine(line: string): string {
  const structured = /^(.*?)(\{"level".*\})\s*$/.exec(line);
  if (structured === null) return blot(line);
  const [, prefix = '', json = ''] = structured;
  try {
    const value = JSON.parse(json) as Record<string, unknown>;
    const kept = Object.fromEntries(
      KEPT_FIELDS.filter((name) => ['string', 'number'].includes(typeof value[name])).map((name) => [
        name,
        typeof value[name] === 'string' ? blot(value[name]) : value[name],
      ]),
    );
    return `${blot(prefix)}${JSON.stringify(kept)}`;
  } catch {
    return blot(line);
  }
}

const BLOTS: [RegExp, string][] = [
  [/AGE-SECRET-KEY-\S+/gi, '[key]'],
  [/(?:[0-9A-HJKMNP-TV-Z]{4}-){3,}[0-9A-HJKMNP-TV-Z]{4}/gi, '[key]'],
  [/[^\s"'<>,;:=()[\]]+@[^\s"'<>,;:=()[\]]+/g, '[address]'],
  [/\b\d{1,3}(?:\.\d{1,3}){3}\b/g, '[ip]'],
  [/(?<![\w:])(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}(?![\w:])/gi, '[ip]'],
  [/[A-Za-z0-9+/_-]{40,}={0,2}/g, '[long]'],
  [/(pass(?:word|phrase)?|secret|token|key|cookie|authorization)(["']?\s*[:=]\s*)\S+/gi, '$1$2[removed]'],
];

function blot(text: string): string {
  return BLOTS.reduce((left, [pattern, with_]) => left.replace(pattern, with_), text).slice(0, 2_000);
}

async function listUnits(): Promise<HostSupport['units']> {
  const text = await say('systemctl', [
    'list-units',
    '--all',
    '--no-legend',
    '--plain',
    '--no-pager',
    'holdfast*',
  ]);
  return text
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([unit]) => unit?.startsWith('holdfast') === true)
    .map(([unit = '', , active = '', sub = '']) => ({ unit, state: `${active} ${sub}` }));
}

/** Lines of our own units only: others may log what people do. */
async function readJournal(): Promise<string[]> {
  const text = await say('journalctl', [
    '--no-pager',
    '--output=short-iso',
    `--lines=${LOG_LINES}`,
    '--unit=holdfast*',
  ]);
  return text.split('\n').filter((line) => line !== '');
}

async function say(command: string, args: string[]): Promise<string> {
  const said = await runProcess(command, args, {
    timeoutMs: TIMEOUT_MS,
    maxOutputBytes: LOG_LIMIT_BYTES,
  }).catch(() => undefined);
  return said?.stdout ?? '';
}
