import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');
/** Words between backticks that look like a file of ours. */
const NAMED_FILE = /`([\w@][\w./@-]*\.(?:ts|svelte|md|py|yaml|json|css|html|sh))`/g;
/** Files that a user or the program makes, not the project. */
const MADE =
  /^(holdfast|appliance|setup|kit|report|bench-result|build-report|vulnerabilities)\.(json|yaml)$|jsonl$|^tsconfig|recovery-kit/;

const documents = [
  'README.md',
  ...listDocuments('server'),
  ...listDocuments('web'),
  ...listDocuments('scripts'),
  ...listDocuments('systemd'),
  ...listDocuments('packer'),
  ...listDocuments('systemd'),
];

describe('the documents', () => {
  it.each(documents)('%s names only files that exist', (document) => {
    const text = readFileSync(join(root, document), 'utf8');
    const named = [...text.matchAll(NAMED_FILE)]
      .map(([, name = '']) => name)
      .filter((name) => !MADE.test(name));
    const missing = named.filter((name) => !isThere(document, name));

    expect(missing).toEqual([]);
  });

  it.each(documents)('%s links only to what exists', (document) => {
    const text = readFileSync(join(root, document), 'utf8');
    const links = [...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)].map(([, link = '']) => link);
    const missing = links.filter((link) => !existsSync(join(root, dirname(document), link)));

    expect(missing).toEqual([]);
  });

  it('say of every module what it guarantees and against whom', () => {
    const modules = readdirSync(join(root, 'server'), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name !== 'migrations' && entry.name !== 'lib')
      .map((entry) => join('server', entry.name, 'README.md'));

    expect(modules.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  it('would notice a file that is not there', () => {
    expect(isThere('server/README.md', 'lib/no-such-file.ts')).toBe(false);
  });
});

function listDocuments(top: string): string[] {
  return readdirSync(join(root, top), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.md'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((path) => !path.includes('node_modules'));
}

/** From the document's folder, the server's, the top, or by its bare name below the document's folder. */
function isThere(document: string, name: string): boolean {
  const folder = join(root, dirname(document));
  if ([folder, join(root, 'server'), join(root, 'web'), root].some((base) => existsSync(join(base, name))))
    return true;
  if (name.includes('/')) return existsSync(join(root, dirname(document), '..', name));
  return listAll(folder).includes(name);
}

/** Names of what git keeps or would keep: not what was installed, built or fetched. */
function listAll(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => !['node_modules', '.git', '.cache', 'dist'].includes(entry.name))
    .flatMap((entry) => (entry.isDirectory() ? listAll(join(folder, entry.name)) : [entry.name]));
}
