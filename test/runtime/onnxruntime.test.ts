/** Which ONNX Runtime runs, and what is said where there is none. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findRuntime, type Host } from '../../src/runtime/onnxruntime.node.ts';

const linux: Host = { platform: 'linux', arch: 'x64', glibc: '2.36' };
const binaries = 'expected linux-x64, linux-arm64, darwin-arm64, win32-x64 or win32-arm64';

describe('the runtime', () => {
  it.each([
    ['linux', 'x64'],
    ['linux', 'arm64'],
    ['darwin', 'arm64'],
    ['win32', 'x64'],
    ['win32', 'arm64'],
  ])('has a binary for %s on %s', (platform, arch) => {
    const { version } = findRuntime({ platform, arch, glibc: platform === 'linux' ? '2.28' : undefined });
    expect(version).toBe('1.30.0');
  });

  it.each([
    [
      'an Intel Mac',
      { platform: 'darwin', arch: 'x64', glibc: undefined },
      `ONNX Runtime 1.30.0 has no binary for darwin-x64; ${binaries}. ` +
        'On a Mac with Apple silicon install Node for arm64; on an Intel Mac run Graft in a Linux container.',
    ],
    [
      'a Linux processor without one',
      { platform: 'linux', arch: 'riscv64', glibc: '2.36' },
      `ONNX Runtime 1.30.0 has no binary for linux-riscv64; ${binaries}. ` +
        'Run Graft on one of these, or in a container of one.',
    ],
    [
      'musl',
      { ...linux, glibc: undefined },
      "ONNX Runtime's binaries for Linux need glibc 2.28 or newer, and the C library here is another one (Alpine has " +
        'musl). Use a system with glibc: as a container node:22-slim instead of node:22-alpine.',
    ],
  ])('says on %s why there is none, and what to do', (_, host, message) => {
    expect(() => findRuntime(host)).toThrow(expect.objectContaining({ code: 'unsupported', message }));
  });
});

describe('before a process is started that could not load it', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'graft-host-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('the command line says why', async () => {
    const musl = 'process.report.getReport = () => ({ header: {} });';
    await writeFile(join(folder, 'musl.mjs'), musl);
    const main = join(dirname(import.meta.dirname), '../dist/cli/main.js');
    const args = ['--import', join(folder, 'musl.mjs'), main, 'start', '--out', join(folder, 'run')];
    const { stderr, code } = await new Promise<{ stderr: string; code: unknown }>((resolve) => {
      execFile(process.execPath, args, (error, _, text) => resolve({ stderr: text, code: error?.code }));
    });
    expect(code).toBe(1);
    expect(stderr).toContain("ONNX Runtime's binaries for Linux need glibc 2.28 or newer");
    expect(stderr).not.toContain('bug');
  });
});
