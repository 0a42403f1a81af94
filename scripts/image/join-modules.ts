/**
 * Joins the hundreds of small files of some npm packages into a few. Every process of the appliance loads them at its start, and
 * on a slow machine that is most of the start. Names and meaning of what a package exports stay as they are.
 */
import { cpSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'vite';
import { BuildError } from './command.ts';

/** Packages, each with the folder that its ES modules lie in. */
const JOINED: Record<string, string> = { typebox: 'build', kysely: 'dist/esm' };

type Exports = Record<string, string | { import?: string }>;

export async function joinModules(modules: string, work: string): Promise<void> {
  for (const [name, folder] of Object.entries(JOINED)) {
    const entries = entryFiles(join(modules, name), folder);
    if (Object.keys(entries).length === 0)
      throw new BuildError(`${name} has no ES modules in ${folder} any more`);
    const output = join(work, 'joined');
    await build({
      root: join(modules, name),
      configFile: false,
      logLevel: 'error',
      ssr: { noExternal: true },
      build: {
        ssr: true,
        outDir: output,
        emptyOutDir: true,
        minify: false,
        target: 'esnext',
        rolldownOptions: {
          input: entries,
          preserveEntrySignatures: 'strict',
          output: { format: 'es', entryFileNames: '[name]', chunkFileNames: `${folder}/joined-[hash].js` },
        },
      },
    });
    rmSync(join(modules, name, folder), { recursive: true });
    cpSync(join(output, folder), join(modules, name, folder), { recursive: true });
    rmSync(output, { recursive: true });
  }
}

/** Path within the package to path on the disk, of everything that it exports as ES modules. */
function entryFiles(path: string, folder: string): Record<string, string> {
  const { exports } = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')) as { exports: Exports };
  const files = Object.values(exports)
    .map((target) => (typeof target === 'string' ? target : target.import))
    .filter((file): file is string => file?.startsWith(`./${folder}/`) === true && /\.m?js$/.test(file))
    .map((file) => file.slice(2));
  return Object.fromEntries(files.map((file) => [file, join(path, file)]));
}
