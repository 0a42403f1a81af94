/** What an attack came to, and what counts as found whichever tool it was. */
import type { LoggedRequest } from '../../server/identity/request-log/schema.ts';

/** Whoever is attacked: the appliance, or something weak that shows that the judges can find. */
export interface Target {
  /** Of the TLS port on 127.0.0.1; the certificate is for `localhost`. */
  port: number;
  /** In PEM. */
  authority: string;
  authorityFile: string;
  /** What was answered to an address, or to all that begin so (`127.0.4.`). */
  answersTo(address: string): Promise<Answer[]>;
}

export type Answer = Pick<LoggedRequest, 'method' | 'route' | 'status' | 'address' | 'code'>;

export interface Outcome {
  /** Heading of the section in the report. */
  name: string;
  /** Without secrets. */
  commands: string[];
  /** What was tried, with counts. */
  tried: string[];
  /** What is wrong; empty: nothing was found. */
  findings: string[];
}

/** Failures inside, whoever provoked them. */
export function findBreaks(answers: readonly Answer[]): string[] {
  const broken = new Map<string, number>();
  for (const { method, route, status, code } of answers) {
    if (status < 500) continue;
    const what = `${method} ${route ?? '(no route)'} answered ${status} ${code ?? ''}`.trim();
    broken.set(what, (broken.get(what) ?? 0) + 1);
  }
  return [...broken].map(([what, times]) => `${what}, ${times} times`);
}

/** `200: 12, 401: 3`. */
export function countStatuses(answers: readonly Answer[]): string {
  const counts = new Map<number, number>();
  for (const { status } of answers) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts]
    .sort(([one], [other]) => one - other)
    .map(([status, count]) => `${status}: ${count}`)
    .join(', ');
}
