import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { COMPILE_CACHE_DIR } from '../server/lib/compile-cache.ts';

const root = join(import.meta.dirname, '..');

// Stripped and compiled sources, shared by all test files and by the programs that they start.
process.env.NODE_COMPILE_CACHE ??= COMPILE_CACHE_DIR;

/** One PostgreSQL server for the whole run; test files side by side, each with a database of its own. */
export default defineConfig({
  root,
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['memory-folder', 'joined-application', 'postgres', 'unpack-browser'].map((name) =>
      join(import.meta.dirname, 'helpers', `${name}.ts`),
    ),
    setupFiles: [join(import.meta.dirname, 'helpers/keep-compiled.ts')],
    // The sources run as they do in the product: Node itself strips the types.
    experimental: { viteModuleRunner: false },
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 30_000,
    pool: 'forks',
    maxWorkers: 2,
    reporters: ['default'],
    expect: { requireAssertions: true },
  },
});
