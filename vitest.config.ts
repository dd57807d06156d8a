import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 120_000,
    // Much of a test's time is one process starting another; more than two files would only fight for cores and memory.
    maxWorkers: 2,
    env: {
      GRAFT_CACHE: process.env['GRAFT_CACHE'] ?? join(tmpdir(), 'graft-tests'),
      // Some tests load ONNX Runtime themselves, beside Graft's engines.
      ORT_DISABLE_TELEMETRY: '1',
    },
    reporters: ['default', './scripts/summary-reporter.mjs'],
  },
});
