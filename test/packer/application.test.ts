import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isUnread, runtimePackages } from '../../scripts/image/application.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const LOCK = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as Parameters<
  typeof runtimePackages
>[0];

/** Below node_modules, of every package that the image takes. */
function* filesOfPackages(): Generator<string> {
  for (const folder of runtimePackages(LOCK)) {
    // Node itself is a program, and packages for other systems are not installed.
    if (folder === 'node_modules/node') continue;
    const entries = listFolder(join(ROOT, folder));
    for (const entry of entries) yield join(folder, entry).slice('node_modules/'.length);
  }
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
  } catch {
    return [];
  }
}

test('of the packages in the image nothing is a key, or is refused when the image is looked through', () => {
  const files = [...filesOfPackages()];
  expect(files).toContain('ssh2/test/fixtures/ssh_host_rsa_key');

  const kept = files.filter((path) => !isUnread(path));
  const keys = kept.filter((path) => {
    if (/(^|\/)(ssh_host_[^/]*|authorized_keys)$/.test(path)) return true;
    const text = readFileSync(join(ROOT, 'node_modules', path), 'latin1');
    return /^-----BEGIN [A-Z ]*PRIVATE KEY-----\r?\n[A-Za-z0-9+/]{40}/m.test(text);
  });

  expect(keys).toEqual([]);
  expect(kept).toContain('ssh2/lib/index.js');
  expect(kept).toContain('pdfkit/js/pdfkit.node.mjs');
});

test('native code for ssh2 is left out', () => {
  expect([...runtimePackages(LOCK)].filter((path) => path.endsWith('/cpu-features'))).toEqual([]);
});
