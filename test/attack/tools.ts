/** The programs that attack, and the Debian packages that hold them. A missing one ends the command: nothing is left out. */
import { runProcess, type ProcessOutput } from '../../server/lib/spawn.ts';

export const ATTACKERS = {
  testssl: { package: 'testssl.sh', version: ['--version'], pattern: /testssl(?:\.sh)?\s+(\d[\w.]*)/ },
  sqlmap: { package: 'sqlmap', version: ['--version'], pattern: /^(\d[\w.]*)/m },
  ffuf: { package: 'ffuf', version: ['-V'], pattern: /version: (\S+)/ },
  hydra: { package: 'hydra', version: ['-h'], pattern: /Hydra v(\S+)/ },
  slowhttptest: { package: 'slowhttptest', version: ['-h'], pattern: /version (\S+)/ },
  openssl: { package: 'openssl', version: ['version'], pattern: /OpenSSL (\S+)/ },
} as const;

export type Attacker = keyof typeof ATTACKERS;

/** @throws Error that names every missing package. @returns versions. */
export async function requireAttackers(): Promise<Record<Attacker, string>> {
  const versions: Partial<Record<Attacker, string>> = {};
  const missing: string[] = [];
  for (const [name, { version, pattern, package: from }] of Object.entries(ATTACKERS)) {
    const said = await runProcess(name, version, { timeoutMs: 30_000 }).catch(() => undefined);
    if (said === undefined) missing.push(from);
    else versions[name as Attacker] = pattern.exec(said.stdout + said.stderr)?.[1] ?? 'unknown';
  }
  if (missing.length > 0) {
    throw new Error(
      `These Debian packages are missing: ${missing.join(' ')}. Install them: apt-get install ${missing.join(' ')}`,
    );
  }
  return versions as Record<Attacker, string>;
}

/** Runs one to its end or its limit. @returns what it said; `timedOut` where it was stopped. */
export async function runTool(
  name: Attacker,
  args: readonly string[],
  options: { cwd: string; timeoutMs: number },
): Promise<ProcessOutput & { timedOut: boolean }> {
  const { PATH = '/usr/bin:/bin' } = process.env;
  const env = { PATH, HOME: options.cwd, LC_ALL: 'C.UTF-8', TERM: 'dumb' };
  try {
    // `timeout` ends it as a person would, so that it writes what it found.
    const limit = Math.ceil(options.timeoutMs / 1000);
    const ran = await runProcess('timeout', ['--kill-after=10', `${limit}`, name, ...args], {
      ...{ cwd: options.cwd, env, maxOutputBytes: 64 * 1024 * 1024 },
      timeoutMs: options.timeoutMs + 20_000,
    });
    return { ...ran, timedOut: ran.exitCode === 124 || ran.exitCode === 137 };
  } catch (error) {
    throw new Error(`${name} could not be run`, { cause: error });
  }
}
