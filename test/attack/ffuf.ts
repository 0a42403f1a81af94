/**
 * ffuf: what answers that nobody meant to be there. Words: the names of all our own files and folders, what is often left lying on
 * servers, and the lists that Debian's sqlmap brings.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { basename, extname, join, relative } from 'node:path';
import { addressesIn, relayFrom } from './relay.ts';
import { runTool } from './tools.ts';
import { countStatuses, findBreaks, type Answer, type Outcome, type Target } from './verdict.ts';

const root = join(import.meta.dirname, '..', '..');
const DEBIAN_LISTS = ['common-files.txt', 'common-tables.txt', 'common-columns.txt'];
const OURS = ['server', 'web', 'scripts', 'systemd', 'packer'];

/** Left lying on servers, found by scanners. */
const LEFT_LYING = [
  ...[
    '.git/config',
    '.git/HEAD',
    '.env',
    '.env.local',
    '.npmrc',
    '.htaccess',
    '.DS_Store',
    '.ssh/id_rsa',
    '.well-known/security.txt',
  ],
  ...[
    'backup.zip',
    'backup.tar.gz',
    'dump.sql',
    'db.sqlite',
    'config.json',
    'config.yaml',
    'package.json',
    'package-lock.json',
  ],
  ...[
    'admin',
    'administrator',
    'console',
    'debug',
    'metrics',
    'status',
    'server-status',
    'actuator/env',
    'trace',
    'phpinfo.php',
  ],
  ...[
    'graphql',
    'swagger.json',
    'openapi.json',
    'api-docs',
    'v1',
    'v2',
    'internal',
    'private',
    'test',
    'tmp',
    'logs',
    'log',
  ],
  ...[
    'data',
    'data/keyring',
    'keys',
    'root.key',
    'requests',
    'postgres',
    'run/keyd.sock',
    'tls/key.pem',
    'wp-login.php',
    'robots.txt',
  ],
  ...[
    '..%2f..%2fetc%2fpasswd',
    '%2e%2e/%2e%2e/package.json',
    '..;/server/main.ts',
    'assets/..%2f..%2f..%2fpackage.json',
    '%c0%af',
  ],
];

/** Below which words are tried. */
const BASES = ['', 'api/', 'api/v1/', 'assets/', 'health/', 'api/docs/'];

export interface Hit {
  url: string;
  status: number;
  length: number;
}

/** Everything a stranger is meant to be answered. */
export interface Meant {
  /** Bytes of the one page, which answers at every address that is no file. */
  pageBytes: number;
  /** Paths of files of the web interface, and routes that are open to everybody. */
  paths: ReadonlySet<string>;
}

/** Pure. */
export function judgeFfuf(hits: readonly Hit[], meant: Meant): string[] {
  return hits.flatMap(({ url, status, length }) => {
    const { pathname } = new URL(url);
    const what = `${pathname} answers ${status} with ${length} bytes`;
    if (status >= 500) return [what];
    if (meant.paths.has(pathname) || pathname.startsWith('/api/docs')) return [];
    const isPage = status === 200 && length === meant.pageBytes && !/^\/(api|health)\//.test(pathname);
    return isPage ? [] : [what];
  });
}

export async function attackContent(
  target: Target,
  folder: string,
  meant: Meant,
  { words = wordList(), bases = BASES }: { words?: readonly string[]; bases?: readonly string[] } = {},
): Promise<Outcome> {
  const network = '127.0.7.';
  const relay = await relayFrom(addressesIn(network, 250), target.port);
  const hits: Hit[] = [];
  const late: string[] = [];
  try {
    for (const [index, base] of bases.entries()) {
      const list = join(folder, `words-${index}.txt`);
      await writeFile(list, `${words.map((word) => `${base}${word}`).join('\n')}\n`);
      const found = join(folder, `ffuf-${index}.json`);
      const args = [
        '-w',
        list,
        '-u',
        `https://localhost:${relay.port}/FUZZ`,
        '-mc',
        '200-399,500-599',
        '-t',
        '20',
        '-s',
      ];
      const ran = await runTool('ffuf', [...args, '-timeout', '20', '-o', found, '-of', 'json'], {
        ...{ cwd: folder, timeoutMs: 120_000 },
      });
      const written = await readFile(found, 'utf8').catch(() => '{"results":[]}');
      hits.push(...(JSON.parse(written) as { results: Hit[] }).results);
      if (ran.timedOut || ran.exitCode !== 0)
        late.push(`/${base} was not tried whole: it ended with ${ran.exitCode ?? 'a signal'}`);
    }
  } finally {
    await relay.close();
  }
  const answers = await target.answersTo(network);
  return {
    name: 'ffuf: what is there that nobody meant',
    commands: [
      'ffuf -w WORDS -u https://localhost:PORT/FUZZ -mc 200-399,500-599 -t 20 -s -timeout 20 -o FILE -of json',
    ],
    tried: [
      `${words.length} words below ${bases.map((base) => `/${base}`).join(' ')}`,
      `${answers.length} requests by the appliance's own log: ${countStatuses(answers)}`,
    ],
    findings: [
      ...judgeFfuf(hits, meant),
      ...findBreaks(answers),
      ...findUntried(answers, words.length * bases.length),
      ...late,
    ],
  };
}

/** Refusals for too many requests say nothing of what is there. */
function findUntried(answers: readonly Answer[], least: number): string[] {
  const told = answers.filter(({ status }) => status !== 429).length;
  // A word that is no address at all never gets to the log.
  return told < least * 0.9 ? [`only ${told} of ${least} addresses got an answer of their own`] : [];
}

/** What the built web interface is, and what the API says is open to all. */
export function whatIsMeant(publicRoutes: readonly string[]): Meant {
  const built = join(root, 'web', 'dist');
  const files = readdirSync(built, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => `/${relative(built, join(entry.parentPath, entry.name))}`);
  return {
    pageBytes: readFileSync(join(built, 'index.html')).length,
    paths: new Set([...files, ...publicRoutes]),
  };
}

function wordList(): string[] {
  const words = new Set(LEFT_LYING);
  for (const folder of OURS)
    for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
      const path = relative(root, join(entry.parentPath, entry.name));
      if (/node_modules|dist\/assets|screenshots\//.test(path)) continue;
      words.add(path);
      words.add(entry.name);
      words.add(basename(entry.name, extname(entry.name)));
    }
  for (const name of DEBIAN_LISTS)
    for (const line of readFileSync(join('/usr/share/sqlmap/data/txt', name), 'utf8').split('\n')) {
      const word = line.trim().replace(/^\/+/, '');
      if (word !== '' && !word.startsWith('#') && !/[\s?#\\]/.test(word) && word.length < 120)
        words.add(word);
    }
  return [...words].filter((word) => !/[\s?#]/.test(word));
}
