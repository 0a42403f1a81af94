/** The rules of the source tree, as a pure function of one file. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/** Each may import those before it, through their front doors. */
export const MODULES = [
  'audit',
  'keys',
  'mail',
  'identity',
  'workspaces',
  'retention',
  'privacy',
  'backups',
  'restore-tests',
  'monitoring',
  'incidents',
  'compliance',
  'appliance',
] as const;

/** Parts of a module that programs of their own load without the rest of it. */
const FRONT_DOORS_OF_PROGRAMS = ['server/appliance/host/index.ts'];

export interface SourceFile {
  /** From the top of the project, with forward slashes. */
  path: string;
  text: string;
}

const MOST_LINES = 500;
const EMPTY_NAMES = /(^|\/)(utils?|helpers?|types?|misc|managers?|common)(\.|\/)/;

/** Every source below server, web, scripts and test. */
export function listSources(root: string, pattern = /\.(ts|svelte)$/): SourceFile[] {
  return ['server', 'web', 'scripts', 'test'].flatMap((top) =>
    readdirSync(join(root, top), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && pattern.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => !/node_modules|web\/dist/.test(path))
      .map((path) => ({ path: relative(root, path), text: readFileSync(path, 'utf8') })),
  );
}

/** Packages that a program loads at its start: by its own sources, and by what those import in turn. Types are not loaded. */
export function listPackages(root: string, entry: string, seen = new Set<string>()): string[] {
  if (seen.has(entry)) return [];
  seen.add(entry);
  const imports = readFileSync(join(root, entry), 'utf8').matchAll(
    /^(?:im|ex)port (?!type\b)(?:[^;']*? from )?'([^']+)';/gm,
  );
  const found = [...imports].flatMap(([, target = '']) =>
    target.startsWith('.') ? listPackages(root, join(entry, '..', target), seen) : [target],
  );
  return [...new Set(found)].filter((name) => !name.startsWith('node:')).sort();
}

/** One sentence per broken rule. */
export function findViolations(source: SourceFile): string[] {
  const found = [...checkShape(source)];
  if (source.path.startsWith('server/')) found.push(...checkImports(source), ...checkBans(source));
  return found.map((sentence) => `${source.path}: ${sentence}`);
}

function checkShape({ path, text }: SourceFile): string[] {
  const found: string[] = [];
  const lines = text.split('\n').length - 1;
  if (lines > MOST_LINES && path !== 'server/lib/tables.ts')
    found.push(`${lines} lines, ${MOST_LINES} at most`);
  if (EMPTY_NAMES.test(path) && !path.startsWith('test/helpers/')) found.push('its name says nothing');
  const code = path.startsWith('test/') ? '' : withoutComments(text);
  if (/\bas any\b|: any\b|<any>|@ts-(ignore|nocheck|expect-error)/.test(code))
    found.push('any or a type escape');
  return found;
}

function checkImports({ path, text }: SourceFile): string[] {
  const [, from = '', ...rest] = path.split('/');
  const found: string[] = [];
  for (const [, target = ''] of text.matchAll(/from '(\.[^']+)'|import\('(\.[^']+)'\)/g)) {
    const resolved = join(path, '..', target).split('/');
    const to = resolved[1] ?? '';
    if (to === from || resolved.length < 3) continue;
    const toIndex = MODULES.findIndex((name) => name === to);
    if (toIndex < 0) continue;
    const fromIndex = MODULES.findIndex((name) => name === from);
    const above = rest.length === 0 || from === 'cli';
    if (!above && (from === 'lib' || from === 'migrations' || toIndex > fromIndex)) {
      found.push(`${from} may not import ${to}`);
    }
    const door = above && FRONT_DOORS_OF_PROGRAMS.includes(resolved.join('/'));
    if (resolved[2] !== 'index.ts' && !door) found.push(`imports ${to} past its front door: ${target}`);
  }
  return found;
}

/** What may stand in one place only: pattern, where it is allowed, what it is. */
const BANS: [RegExp, RegExp, string][] = [
  [/\bprocess\.env\b/, /^server\/lib\/config\.ts$/, 'process.env belongs in lib/config.ts'],
  [/\bDate\.now\(/, /^server\/lib\/clock\.ts$/, 'Date.now belongs in lib/clock.ts'],
  [/\bnew Date\(\)/, /^server\/lib\/clock\.ts$/, 'new Date() belongs in lib/clock.ts'],
  [/from 'node:child_process'/, /^server\/lib\/spawn\.ts$/, 'child_process belongs in lib/spawn.ts'],
  [/from 'age-encryption'/, /^server\/(keys|backups)\//, 'age-encryption belongs in keys and backups'],
  [
    /\bsql(<[^`]*>)?`|\.query\(/,
    /^server\/(lib|migrations)\/|\/queries\.ts$|-queries\.ts$|\/queries\//,
    'SQL belongs in queries and migrations',
  ],
];

function checkBans({ path, text }: SourceFile): string[] {
  const code = withoutComments(text);
  return BANS.filter(([pattern, allowed]) => pattern.test(code) && !allowed.test(path)).map(
    ([, , words]) => words,
  );
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|(^|\s)\/\/.*$/gm, '');
}
