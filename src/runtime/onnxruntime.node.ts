/**
 * Which ONNX Runtime runs: the one module that finds and loads it.
 *
 * Graft carries the runtime itself (`vendor/onnxruntime-node`, put there by scripts/vendor_runtime.mjs), because
 * installing the npm package onnxruntime-node downloads CUDA libraries. Where that package is installed beside Graft in
 * the same version, it runs instead: so CUDA is an install command.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type * as Ort from 'onnxruntime-common';
import { fail } from '../core/errors.ts';

export interface Runtime {
  /** Its package's folder. */
  readonly folder: string;
  readonly version: string;
  /** Whether it is the copy inside Graft's package, which has no CUDA. */
  readonly vendored: boolean;
}

/** What decides whether a binary loads. */
export interface Host {
  readonly platform: string;
  readonly arch: string;
  /** Version of glibc; undefined where the C library is another one. */
  readonly glibc: string | undefined;
}

const require = createRequire(import.meta.url);
// The package's own name resolves from wherever its compiled files lie.
const vendored = join(dirname(require.resolve('graft-ml/package.json')), 'vendor/onnxruntime-node');

/** The runtime that `loadRuntime` loads. Throws `unsupported` where it has no binary that this machine can load. */
export function findRuntime(host: Host = thisHost(), runtime: Runtime = chooseRuntime()): Runtime {
  const { platform, arch, glibc } = host;
  const binary = join(runtime.folder, 'bin/napi-v6', platform, arch, 'onnxruntime_binding.node');
  if (!existsSync(binary)) {
    const advice = platform === 'darwin' ? macAdvice : 'Run Graft on one of these, or in a container of one.';
    fail(
      'unsupported',
      `ONNX Runtime ${runtime.version} has no binary for ${platform}-${arch}; expected ${binaries}. ${advice}`,
    );
  }
  if (platform === 'linux' && glibc === undefined) {
    fail(
      'unsupported',
      "ONNX Runtime's binaries for Linux need glibc 2.28 or newer, and the C library here is another one (Alpine has " +
        'musl). Use a system with glibc: as a container node:22-slim instead of node:22-alpine.',
    );
  }
  return runtime;
}

const binaries = 'linux-x64, linux-arm64, darwin-arm64, win32-x64 or win32-arm64';
const macAdvice =
  'On a Mac with Apple silicon install Node for arm64; on an Intel Mac run Graft in a Linux container.';

/** Loads the runtime into this process. Only the engine's process does. */
export function loadRuntime(): typeof Ort {
  return require(findRuntime().folder) as typeof Ort;
}

function chooseRuntime(): Runtime {
  const own = existsSync(vendored) ? { ...describe(vendored), vendored: true } : null;
  const installed = installedRuntime();
  if (own === null) {
    return (
      installed ??
      fail(
        'state',
        'The folder vendor/ of graft-ml, which holds ONNX Runtime, is missing: install the package again, or in a ' +
          'clone of Graft run npm run prepare.',
      )
    );
  }
  return installed?.version === own.version ? installed : own;
}

function installedRuntime(): Runtime | null {
  try {
    const folder = dirname(require.resolve('onnxruntime-node/package.json'));
    return { ...describe(folder), vendored: false };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') return null;
    throw error;
  }
}

function describe(folder: string): { folder: string; version: string } {
  const { version } = require(join(folder, 'package.json')) as { version: string };
  return { folder, version };
}

function thisHost(): Host {
  const { platform, arch } = process;
  if (platform !== 'linux') return { platform, arch, glibc: undefined };
  return { platform, arch, glibc: glibcVersion() };
}

function glibcVersion(): string | undefined {
  const report = process.report as NodeJS.ProcessReport & { excludeNetwork: boolean };
  const { excludeNetwork } = report;
  // Otherwise every open connection would be looked up by name.
  report.excludeNetwork = true;
  const { header } = report.getReport() as { header: { glibcVersionRuntime?: string } };
  report.excludeNetwork = excludeNetwork;
  return header.glibcVersionRuntime;
}
