/**
 * What a command says. With `--json`, stdout carries exactly one JSON document, also for an error; everything else, such as
 * progress and notes, goes to stderr.
 */
import { SingleBar } from 'cli-progress';
import { systemClock, type Clock } from '../lib/clock.ts';
import { exitCodeOf, HoldfastError, messageOf } from '../lib/errors.ts';

export { formatBytes } from '../lib/byte-words.ts';

export interface Output {
  readonly json: boolean;
  /** A line for people, on stderr. */
  note(text: string): void;
  /** The one result. Without `--json` the text is printed instead. */
  result(value: unknown, text: string): void;
  /** On stderr: a bar on a terminal, elsewhere a line now and then. */
  progress(): ProgressBar;
}

export interface ProgressBar {
  update(done: number, total: number | undefined, label: string): void;
  stop(): void;
}

export function createOutput(json: boolean): Output {
  return {
    json,
    note: (text) => void process.stderr.write(`${text}\n`),
    result: (value, text) => {
      const line = json ? JSON.stringify(value) : text;
      if (line !== '') process.stdout.write(line.endsWith('\n') ? line : `${line}\n`);
    },
    progress: createBar,
  };
}

/** Prints an error and returns the exit code for it. */
export function reportError(error: unknown, json: boolean): number {
  const known = error instanceof HoldfastError ? error : undefined;
  const code = known?.code ?? 'internal';
  const message = messageOf(error);
  if (json) {
    const body = { error: { code, message, ...(known?.hint === undefined ? {} : { hint: known.hint }) } };
    process.stdout.write(`${JSON.stringify(body)}\n`);
  } else {
    process.stderr.write(`holdfast: ${message}\n`);
    if (known?.hint !== undefined) process.stderr.write(`  ${known.hint}\n`);
    // What was found: the reason that an administrator, or whoever reads the log of a unit, looks for.
    if (known?.detail !== undefined) process.stderr.write(`  ${known.detail}\n`);
  }
  // A defect of ours: whoever reports it needs the place.
  if (known === undefined && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`);
  return exitCodeOf(error);
}

/** Rows under headings, columns aligned, no trailing spaces. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headings, ...rows];
  const widths = headings.map((_, column) =>
    Math.max(...all.map((row) => Array.from(row[column] ?? '').length)),
  );
  const line = (row: readonly string[]) =>
    widths
      .map((width, column) => (row[column] ?? '') + ' '.repeat(width - Array.from(row[column] ?? '').length))
      .join('  ');
  return all.map((row) => line(row).trimEnd()).join('\n');
}

/** `2026-03-01 02:00 UTC`, or a dash. */
export function formatInstant(at: string | null | undefined): string {
  return at === null || at === undefined ? '-' : `${at.slice(0, 10)} ${at.slice(11, 16)} UTC`;
}

/** Text that comes from people or targets, safe for a terminal. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '\u{fffd}');
}

/** Between two lines of progress where there is no terminal. */
const LINE_EVERY_MS = 5_000;

/** For logs and pipes: nothing for what is soon done. */
function createLines(clock: Clock): ProgressBar {
  let lastMs = clock.monotonicMs();
  return {
    update: (done, total, label) => {
      const nowMs = clock.monotonicMs();
      if (nowMs - lastMs < LINE_EVERY_MS) return;
      lastMs = nowMs;
      const share = total === undefined || total === 0 ? '' : `${Math.floor((100 * done) / total)} %  `;
      process.stderr.write(`${share}${label}\n`);
    },
    stop: () => undefined,
  };
}

function createBar(): ProgressBar {
  if (!process.stderr.isTTY) return createLines(systemClock);
  const bar = new SingleBar({
    format: '{bar} {percentage} %  {label}',
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
    barsize: 30,
    noTTYOutput: false,
  });
  let started = false;
  return {
    update: (done, total, label) => {
      const shown = total === undefined || total === 0 ? 1 : total;
      if (!started) bar.start(shown, 0, { label });
      started = true;
      bar.setTotal(shown);
      bar.update(total === undefined ? 0 : Math.min(done, shown), { label });
    },
    stop: () => {
      if (started) bar.stop();
    },
  };
}
