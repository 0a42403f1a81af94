/* Loads the modules of the server, so that Node keeps what it made of them. */
const { globSync } = require('node:fs');
const { join } = require('node:path');
const { flushCompileCache } = require('node:module');
const { pathToFileURL } = require('node:url');

const server = '/opt/holdfast/server';
const find = (pattern) => globSync(pattern, { cwd: server }).map((file) => join(server, file));

async function load(file) {
  try {
    await import(file);
  } catch (error) {
    process.stderr.write(`${file}: ${error.message}\n`);
  }
}

/* Whatever throws before it keeps a module from acting; it is translated all the same. */
async function translate(file) {
  const code = `import 'data:text/javascript,throw "stop"'; import '${pathToFileURL(file).href}';`;
  try {
    await import(`data:text/javascript,${encodeURIComponent(code)}`);
  } catch (error) {
    if (error !== 'stop') process.stderr.write(`${file}: ${error.message}\n`);
  }
}

async function warm() {
  /* Shared parts only declare. */
  for (const file of [...find('joined/*.js'), ...find('migrations/*.ts')]) await load(file);
  for (const file of [...find('*.ts'), ...find('**/*-thread.ts'), ...find('cli/holdfast.ts')])
    await translate(file);
  flushCompileCache();
  process.exit(0);
}

void warm();
