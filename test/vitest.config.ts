import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

const root = join(import.meta.dirname, '..');

/** One PostgreSQL server for the whole run; test files side by side, each with a database of its own. */
export default defineConfig({
  root,
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: [
      join(import.meta.dirname, 'helpers/postgres.ts'),
      join(import.meta.dirname, 'helpers/unpack-browser.ts'),
    ],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 30_000,
    pool: 'forks',
    maxWorkers: 2,
    reporters: ['default'],
    expect: { requireAssertions: true },
  },
});
