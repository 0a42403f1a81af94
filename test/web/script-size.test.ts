/** What a browser must load before it can show anything. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';

const DIST = join(import.meta.dirname, '..', '..', 'web', 'dist');
const LIMIT_BYTES = 150 * 1024;

/** The scripts that a file imports at once, itself included; those it imports later are not followed. */
function withImports(path: string, found = new Set<string>()): Set<string> {
  if (found.has(path)) return found;
  found.add(path);
  const text = readFileSync(path, 'utf8');
  for (const match of text.matchAll(/(?:\bfrom|\bimport)\s*"(\.\/[^"]+\.js)"/g)) {
    withImports(join(path, '..', match[1] ?? ''), found);
  }
  return found;
}

it('the first script is at most 150 KiB compressed', () => {
  const html = readFileSync(join(DIST, 'index.html'), 'utf8');
  const entry = /<script type="module"[^>]*src="\/([^"]+)"/.exec(html)?.[1] ?? '';
  expect(statSync(join(DIST, entry)).size).toBeGreaterThan(1_000);

  const scripts = withImports(join(DIST, entry));
  const sizes = [...scripts].map((path) => gzipSync(readFileSync(path)).length);
  const total = sizes.reduce((sum, size) => sum + size, 0);

  expect(total).toBeLessThan(LIMIT_BYTES);
});

it('the page holds no inline script and no inline style', () => {
  const html = readFileSync(join(DIST, 'index.html'), 'utf8');

  expect(html).not.toMatch(/<style|\sstyle=|\son[a-z]+=/);
  expect(html).not.toMatch(/<script(?![^>]*\ssrc=)/);
});
