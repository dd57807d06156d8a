import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 120_000,
    // Two engines at once would fight for the cores.
    fileParallelism: false,
    reporters: ['default', './scripts/summary-reporter.mjs'],
  },
});
