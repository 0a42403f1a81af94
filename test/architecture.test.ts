import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  findViolations,
  listPackages,
  listSources,
  MODULES,
  type SourceFile,
} from './helpers/architecture.ts';

const root = join(import.meta.dirname, '..');

/** A source that breaks exactly one rule, and the words by which the rule must name it. */
const PLANTED: [string, SourceFile, RegExp][] = [
  [
    'an import to the right',
    { path: 'server/keys/planted.ts', text: "import { x } from '../backups/index.ts';\n" },
    /keys may not import backups/,
  ],
  [
    'an import past the front door',
    { path: 'server/backups/planted.ts', text: "import { x } from '../keys/age.ts';\n" },
    /past its front door/,
  ],
  [
    'lib that knows a module',
    { path: 'server/lib/planted.ts', text: "import { x } from '../audit/index.ts';\n" },
    /lib may not import audit/,
  ],
  [
    'an environment read',
    { path: 'server/audit/planted.ts', text: 'export const x = process.env.HOME;\n' },
    /process\.env/,
  ],
  ['a clock read', { path: 'server/audit/planted.ts', text: 'export const x = Date.now();\n' }, /Date\.now/],
  [
    'a clock read by Date',
    { path: 'server/audit/planted.ts', text: 'export const x = new Date();\n' },
    /new Date\(\)/,
  ],
  [
    'a program started aside',
    { path: 'server/audit/planted.ts', text: "import { spawn } from 'node:child_process';\n" },
    /child_process/,
  ],
  [
    'age outside its modules',
    { path: 'server/identity/planted.ts', text: "import { Encrypter } from 'age-encryption';\n" },
    /age-encryption/,
  ],
  [
    'SQL outside queries',
    { path: 'server/audit/service.ts', text: "import { sql } from 'kysely';\nsql`select 1`;\n" },
    /SQL/,
  ],
  ['a file that is too long', { path: 'server/audit/planted.ts', text: 'x;\n'.repeat(501) }, /501 lines/],
  ['a nameless name', { path: 'server/audit/utils.ts', text: '' }, /name says nothing/],
  ['a type escape', { path: 'server/audit/planted.ts', text: 'export const x = 1 as any;\n' }, /any/],
];

describe('the architecture', () => {
  it('holds for every source', () => {
    const violations = listSources(root).flatMap(findViolations);

    expect(violations).toEqual([]);
  });

  it.each(PLANTED)('catches %s', (_name, source, words) => {
    expect(findViolations(source).join('\n')).toMatch(words);
  });

  it.each(['server/keyd.ts', 'server/cli/commands/status.ts'])(
    '%s starts without a database client',
    (entry) => {
      const packages = listPackages(root, entry);

      expect(packages).not.toContain('kysely');
      expect(packages).not.toContain('pg');
      expect(listPackages(root, 'server/worker.ts')).toEqual(expect.arrayContaining(['kysely', 'pg']));
    },
  );

  it('looks at every module', () => {
    const seen = new Set(listSources(root).map((source) => source.path.split('/')[1]));
    const present = readdirSync(join(root, 'server')).filter((name) =>
      statSync(join(root, 'server', name)).isDirectory(),
    );

    for (const name of present.filter((folder) => (MODULES as readonly string[]).includes(folder))) {
      expect(seen).toContain(name);
    }
  });

  it('keeps the fixed top level', () => {
    const allowed =
      /^(\..*|package(-lock)?\.json|tsconfig\.json|server|web|scripts|packer|systemd|test|README\.md|LICENSE|node_modules|data)$/;

    expect(readdirSync(root).filter((name) => !allowed.test(name))).toEqual([]);
  });

  it('has no document that names a place of our work', () => {
    const documents = listSources(root, /\.(md|ts|json|py|sh|svelte|yaml)$/);
    const bad = documents.filter(
      (source) => /\.\.\/shared|\/work\//.test(source.text) && !source.path.includes('architecture'),
    );

    expect(bad.map((source) => relative(root, source.path))).toEqual([]);
    expect(readFileSync(join(root, 'package.json'), 'utf8')).toContain('Apache-2.0');
  });
});
