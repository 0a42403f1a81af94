import { defineConfig } from 'vitest/config';

/** On a server that `run.ts` was told of; needs nothing else of what other tests need. */
export default defineConfig({
  root: import.meta.dirname,
  test: {
    include: ['conformance.ts', 'ransomware.ts', 'follow-policy.ts'],
    experimental: { viteModuleRunner: false },
    pool: 'forks',
    expect: { requireAssertions: true },
  },
});
