/** testssl.sh: protocols, ciphers, certificate, headers and every weakness of TLS that it knows. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from './tools.ts';
import type { Outcome, Target } from './verdict.ts';

interface Check {
  id: string;
  severity: string;
  finding: string;
}

const HARMLESS = new Set(['OK', 'INFO', 'LOW']);
/** However little the tool thinks of it: nothing but TLS 1.3 is spoken. */
const OLD_PROTOCOLS = new Set(['SSLv2', 'SSLv3', 'TLS1', 'TLS1_1', 'TLS1_2']);
/** What this version of the tool cannot look at. */
const TOOL_LIMITS: Record<string, string> = {
  engine_problem: 'the openssl of the machine has no GOST ciphers to try',
  sessionresumption_ticket: 'tickets are tried by TLS 1.2 only, which is refused',
};
/** Without these it did not look at everything. */
const MUST_HAVE = [
  'SSLv3',
  'TLS1',
  'TLS1_3',
  'cipherlist_NULL',
  'cert_trust',
  'HSTS_time',
  'heartbleed',
  'RC4',
  'scanTime',
];

/** Pure. @param checks of the tool's JSON file. */
export function judgeTestssl(checks: readonly Check[], mustHave: readonly string[] = MUST_HAVE): string[] {
  const ids = new Set(checks.map(({ id }) => id));
  const isOld = ({ id, finding }: Check) => OLD_PROTOCOLS.has(id) && !finding.startsWith('not offered');
  return [
    ...checks
      .filter((check) => !HARMLESS.has(check.severity) || isOld(check))
      .filter(({ id, severity }) => severity !== 'WARN' || TOOL_LIMITS[id] === undefined)
      .map(({ id, severity, finding }) => `${severity} ${id}: ${finding}`),
    ...mustHave.filter((id) => !ids.has(id)).map((id) => `the tool said nothing of ${id}`),
  ];
}

/** @param only options that choose some of the checks, for a quick look. */
export async function attackTls(
  target: Pick<Target, 'port' | 'authorityFile'>,
  folder: string,
  only: readonly string[] = [],
): Promise<Outcome> {
  const file = join(folder, 'testssl.json');
  await rm(file, { force: true });
  const args = ['--quiet', '--warnings', 'off', '--color', '0', '--nodns', 'none', '--ip', '127.0.0.1'];
  const ours = ['--add-ca', target.authorityFile, '--jsonfile', file, ...only];
  const ran = await runTool('testssl', [...args, ...ours, `https://localhost:${target.port}`], {
    cwd: folder,
    timeoutMs: 300_000,
  });
  const checks = JSON.parse(await readFile(file, 'utf8').catch(() => '[]')) as Check[];
  const counts = ['OK', 'INFO', 'LOW', 'MEDIUM', 'HIGH', 'CRITICAL', 'WARN'].map(
    (severity) => `${severity} ${checks.filter((check) => check.severity === severity).length}`,
  );
  return {
    name: 'testssl.sh: TLS, certificate, headers',
    commands: [`testssl ${args.join(' ')} --add-ca AUTHORITY --jsonfile FILE https://localhost:PORT`],
    tried: [
      `${checks.length} checks: ${counts.join(', ')}`,
      ...checks
        .filter(({ id, severity }) => severity === 'WARN' && TOOL_LIMITS[id] !== undefined)
        .map(({ id }) => `not looked at: ${id}, because ${TOOL_LIMITS[id] ?? ''}`),
    ],
    findings: [
      ...judgeTestssl(checks, only.length === 0 ? MUST_HAVE : []),
      ...(ran.timedOut ? ['it did not finish in its time'] : []),
    ],
  };
}
