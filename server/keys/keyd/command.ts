/** How keyd is started: without core dumps, without the debugger's signal. */
import { existsSync } from 'node:fs';
import { SMALL_HEAP } from '../../lib/process-memory.ts';

/** util-linux; on every Debian. It sets the limit and becomes the program, so signals and IPC reach keyd itself. */
const PRLIMIT = '/usr/bin/prlimit';

/**
 * Program and arguments for keyd.
 *
 * @param script path of `server/keyd.ts`.
 */
export function keydCommand(
  script: string,
  args: readonly string[] = [],
): { command: string; args: string[] } {
  const node = [process.execPath, '--disable-sigusr1', ...SMALL_HEAP, script, ...args];
  if (existsSync(PRLIMIT)) return { command: PRLIMIT, args: ['--core=0', ...node] };
  return { command: process.execPath, args: node.slice(1) };
}
