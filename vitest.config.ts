import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 120_000,
    // Two engines at once would fight for the cores.
    fileParallelism: false,
    env: { GRAFT_CACHE: process.env['GRAFT_CACHE'] ?? join(tmpdir(), 'graft-tests') },
    reporters: ['default', './scripts/summary-reporter.mjs'],
  },
});
