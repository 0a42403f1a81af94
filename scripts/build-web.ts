/** Builds the web interface into web/dist. With `--if-stale` only when a source is newer than the last build. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const web = join(import.meta.dirname, '..', 'web');
/** Sources of the server that the browser runs too. */
const SHARED = [
  'server/backups/retention/policy-words.ts',
  'server/keys/recovery-kit.ts',
  'server/keys/kit-challenge.ts',
  'server/lib/errors.ts',
];
const built = join(web, 'dist', 'index.html');

if (process.argv.includes('--if-stale') && existsSync(built) && newestSource() < statSync(built).mtimeMs) {
  process.exit(0);
}
// Loaded only when there is something to build: a start without takes half a second less.
const { build } = await import('vite');
await build({ configFile: join(web, 'vite.config.ts'), root: web, logLevel: 'warn' });

/** Modification time of the newest file the build depends on. */
function newestSource(): number {
  const outside = ['package-lock.json', ...SHARED].map((path) => statSync(join(web, '..', path)).mtimeMs);
  return Math.max(...outside, newestBelow(web));
}

function newestBelow(directory: string): number {
  let newest = 0;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.name === 'dist' || entry.name === 'screenshots') continue;
    const path = join(directory, entry.name);
    newest = Math.max(newest, entry.isDirectory() ? newestBelow(path) : statSync(path).mtimeMs);
  }
  return newest;
}
