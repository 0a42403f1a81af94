/**
 * What other people measure a hardened system with: Lynis, and the SCAP content of Debian's package `ssg-debian`. Both are text,
 * not programs for one processor, so they are taken from Debian's next release, whose content is the first that knows Debian 13.
 * apt downloads and checks them with state of its own; they are unpacked into the work folder and nothing is installed.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MIRROR } from './base.ts';
import { BuildError, run } from './command.ts';

/** Debian 13's own packages hold content for Debian 11 and 12 only. */
const SUITE = 'forky';
const PACKAGES = ['lynis', 'ssg-debian'] as const;
const KEPT_MS = 24 * 3_600_000;

export interface Yardsticks {
  /** Top of the unpacked packages. */
  folder: string;
  /** Version of each Debian package. */
  versions: Record<(typeof PACKAGES)[number], string>;
}

/** Those of an earlier build within a day, else new ones. @throws BuildError when there is no way to Debian's packages. */
export async function fetchYardsticks(work: string, mirror = MIRROR): Promise<Yardsticks> {
  const top = join(work, 'yardsticks');
  const folder = join(top, 'unpacked');
  const mark = join(top, 'versions.json');
  const fresh = existsSync(mark) && Date.now() - statSync(mark).mtimeMs < KEPT_MS;
  if (!fresh) {
    rmSync(top, { recursive: true, force: true });
    const versions = await download(top, folder, mirror);
    writeFileSync(mark, JSON.stringify(versions));
  }
  return { folder, versions: JSON.parse(readFileSync(mark, 'utf8')) as Yardsticks['versions'] };
}

async function download(top: string, folder: string, mirror: string): Promise<Yardsticks['versions']> {
  for (const name of ['lists/partial', 'cache/archives/partial', 'parts', 'packages', 'unpacked'])
    mkdirSync(join(top, name), { recursive: true });
  const sources = join(top, 'sources.list');
  writeFileSync(
    sources,
    `deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror}/debian ${SUITE} main\n`,
  );
  const options = [
    ['Dir::State::lists', join(top, 'lists')],
    ['Dir::Cache', join(top, 'cache')],
    ['Dir::Etc::sourcelist', sources],
    ['Dir::Etc::sourceparts', join(top, 'parts')],
    ['APT::Sandbox::User', ''],
    ['Acquire::Languages', 'none'],
    ['Acquire::Retries', '2'],
  ].flatMap(([name, value]) => ['-o', `${name ?? ''}=${value ?? ''}`]);
  await run('apt-get', [...options, 'update', '-qq']);
  await run('apt-get', [...options, 'download', '-qq', ...PACKAGES], { cwd: join(top, 'packages') });
  const files = readdirSync(join(top, 'packages'));
  for (const file of files) await run('dpkg-deb', ['-x', join(top, 'packages', file), folder]);
  for (const name of ['lists', 'cache']) rmSync(join(top, name), { recursive: true });
  const versionOf = (name: string) => {
    const version = files.map((file) => /^([^_]+)_([^_]+)_/.exec(file)).find((found) => found?.[1] === name);
    if (version?.[2] === undefined) throw new BuildError(`apt brought no package ${name}`);
    return decodeURIComponent(version[2]);
  };
  return { lynis: versionOf('lynis'), 'ssg-debian': versionOf('ssg-debian') };
}
