/** Structured logs: one JSON object a line on stdout. Secrets are removed by path before anything is written. */
import { pino, type Logger } from 'pino';

export type { Logger };

const SECRET_PATHS = [
  'password',
  '*.password',
  'req.headers.cookie',
  'req.headers.authorization',
  'res.headers["set-cookie"]',
  'identity',
  '*.identity',
  'lent',
  '*.lent',
];

/** @param component which process or part writes: server, keyd, worker, supervisor … */
export function createLog(level: string, component: string): Logger {
  return pino({
    level,
    base: { component },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: SECRET_PATHS, censor: '[removed]' },
  });
}
