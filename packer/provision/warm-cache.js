/* Loads every module of the server that does nothing when it is loaded, so that Node keeps what it made of them. */
const { readdirSync, readFileSync } = require('node:fs');
const { basename, dirname, join } = require('node:path');
const { flushCompileCache } = require('node:module');

const server = '/opt/holdfast/server';

const LOADED = ['app.ts', 'deps.ts', 'jobs.ts', 'run-deps.ts', 'web.ts', 'supervisor.ts'];

async function warm() {
  const files = readdirSync(server, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.name.endsWith('-thread.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    // Entries act at once: of those beside the modules only what is loaded by them.
    .filter((path) => dirname(path) !== server || LOADED.includes(basename(path)))
    .filter((path) => !path.endsWith('/cli/holdfast.ts'));
  for (const path of files) {
    try {
      await import(path);
    } catch (error) {
      process.stderr.write(`${path}: ${error.message}\n`);
    }
  }
  flushCompileCache();
  process.stdout.write(`${files.length} modules\n`);
  process.exit(0);
}

void warm();
