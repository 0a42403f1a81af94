/* Loads every module of the server that does nothing when it is loaded, so that Node keeps what it made of them. */
const { globSync } = require('node:fs');
const { join } = require('node:path');
const { flushCompileCache } = require('node:module');

const server = '/opt/holdfast/server';
/* Entries act at once; their code is in these. */
const LOADED = [
  'joined/*.js',
  '**/index.ts',
  'migrations/*.ts',
  '{app,deps,jobs,run-deps,web,supervisor}.ts',
];

async function warm() {
  const files = globSync(LOADED, { cwd: server });
  for (const file of files) {
    try {
      await import(join(server, file));
    } catch (error) {
      process.stderr.write(`${file}: ${error.message}\n`);
    }
  }
  flushCompileCache();
  process.stdout.write(`${files.length} files\n`);
  process.exit(0);
}

void warm();
