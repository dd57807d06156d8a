/** `graft doctor` looks at the machine as it is; what other machines have is given to the checks. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkCores, checkMemory, checkNode, describeReach, type Finding } from '../../src/cli/checks.ts';
import { coreQuota } from '../../src/core/cores.node.ts';
import { tensor } from '../../src/core/tensor.ts';
import { checkProduct } from '../../src/runtime/probe.node.ts';
import { jsonOf, makeMirror, makeWorkplace, type Workplace } from './support.ts';

let workplace: Workplace;
beforeAll(async () => {
  workplace = await makeWorkplace();
});
afterAll(() => workplace.remove());

describe('graft doctor', () => {
  it('tries each thing and gives a verdict', async () => {
    const mirror = await makeMirror(workplace.path('mirror'));
    const finished = await workplace.run(['doctor', '--mirror', mirror, '--json']);
    const { ok, findings } = jsonOf(finished) as { ok: boolean; findings: Finding[] };
    const verdict = (name: string) => findings.find((finding) => finding.name === name);
    expect(verdict('Node')?.verdict).toBe('ok');
    expect(verdict('Device cpu')?.text).toMatch(/^multiplies exactly, about [\d.]+ GFLOP\/s$/);
    expect(verdict('Cache')?.text).toContain(`${workplace.path('cache')} can be written to, `);
    expect(verdict('Mirror')?.text).toContain('has cifar10 of data sets and backbones');
    expect(ok).toBe(true);
    expect(finished.code).toBe(0);
    expect(finished.stderr).toMatch(/\nok {7}Device cpu {5}multiplies exactly/);
    expect(finished.stderr).toContain('\nGraft can work here.\n');
  });

  it('ends with 1 where something is wrong, and says how to mend it', async () => {
    await writeFile(workplace.path('file'), '');
    const env = { GRAFT_CACHE: workplace.path('file/cache'), GRAFT_MIRROR: workplace.path('nowhere') };
    const { code, stdout } = await workplace.run(['doctor'], env);
    expect(stdout).toMatch(
      /\nproblem {2}Cache .* cannot be written to: .*Name another folder: GRAFT_CACHE\.\n/,
    );
    expect(stdout).toMatch(
      /\nproblem {2}Mirror .*manifest.*Mend --mirror or GRAFT_MIRROR, or leave it out\.\n/,
    );
    expect(stdout).toContain('\n2 problems.\n');
    expect(code).toBe(1);
  });
});

describe('a check', () => {
  it('of Node knows what is too old, tested, and neither', () => {
    expect(checkNode('20.18.3')).toMatchObject({
      verdict: 'problem',
      mend: expect.stringContaining('20.19'),
    });
    expect(checkNode('20.19.0').verdict).toBe('ok');
    expect(checkNode('23.1.0').verdict).toBe('note');
    expect(checkNode('24.0.0').verdict).toBe('ok');
    expect(checkNode('18.20.0').verdict).toBe('problem');
  });

  it('of cores minds the limit of a container', () => {
    const text = ({ text }: Finding) => text.replace(/ \(.*\)/, '');
    expect(text(checkCores({ device: 'cpu' }, [8, null]))).toBe('8 cores; 8 threads');
    expect(text(checkCores({ device: 'cpu' }, [64, 2.5]))).toBe(
      '64 cores, of which this container may use 2.5; 2 threads',
    );
    expect(checkCores({ device: 'cpu', threads: 8 }, [64, 2.5])).toMatchObject({
      verdict: 'note',
      mend: 'Leave out --threads, or give 2.',
    });
    expect(checkCores({ device: 'cpu' }, [64, 0.5])).toMatchObject({ verdict: 'note' });
  });

  it('of memory compares with what the reference job takes', () => {
    expect(checkMemory(4.2e9, 8e9)).toMatchObject({ verdict: 'ok', text: '4.2 GB of 8.0 GB free' });
    expect(checkMemory(4e9, 8e9).verdict).toBe('note');
  });

  it('of addresses tells offline from lost', () => {
    const here = { id: 'resnet50/imagenet/no-top', state: 'here', reason: '', asked: null } as const;
    const [data, weights] = ['data.example', 'weights.example:81'];
    const silent = { id: 'cifar10/binary', state: 'silent', reason: 'ENOTFOUND', asked: data } as const;
    const missing = {
      id: 'vgg16/imagenet/no-top',
      state: 'missing',
      reason: 'status 404',
      asked: weights,
    } as const;
    const answers = { id: 'cifar100/binary', state: 'answers', reason: '', asked: data } as const;
    const say = (...all: Parameters<typeof describeReach>[2]) => describeReach('Network', '', all);
    expect(say(here, silent).text).toBe('offline (ENOTFOUND); here: resnet50; asked data.example.');
    expect(say(here, answers).text).toBe(
      'all 2 published files answer, or are here already; here: resnet50; asked data.example',
    );
    expect(say(here, answers, missing).text).toBe(
      '1 of 3 published files cannot be had: vgg16 (status 404); asked data.example, weights.example:81.',
    );
    expect(say(here, silent).verdict).toBe('note');
  });
});

it('a wrong product is noticed', () => {
  const square = (value: number) => tensor('float32', [512, 512], new Float32Array(512 * 512).fill(value));
  const c = square(1024);
  expect(() => checkProduct(square(1), square(2), c, 'cpu')).not.toThrow();
  c.data[8 * 512 + 3] = 1023;
  expect(() => checkProduct(square(1), square(2), c, 'webgpu')).toThrow(
    'The device "webgpu" computes wrongly: element (8, 3) of a product of whole numbers is 1023, expected 1024.',
  );
});

describe('the limit of control groups', () => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'graft-groups-'));
    for (const folder of ['pod/box', 'free', 'cpu/old']) await mkdir(join(root, folder), { recursive: true });
    await writeFile(join(root, 'pod/cpu.max'), '150000 100000\n');
    await writeFile(join(root, 'pod/box/cpu.max'), '400000 100000\n');
    await writeFile(join(root, 'free/cpu.max'), 'max 100000\n');
    await writeFile(join(root, 'cpu/old/cpu.cfs_quota_us'), '300000\n');
    await writeFile(join(root, 'cpu/old/cpu.cfs_period_us'), '100000\n');
    await writeFile(join(root, 'cpu/cpu.cfs_quota_us'), '-1\n');
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  it.each([
    ['the least of those above', '0::/pod/box\n', 1.5],
    ['none', '0::/free\n', null],
    ['version 1', '12:pids:/old\n4:cpu,cpuacct:/old\n0::/\n', 3],
    ['a group that is not mounted', '0::/elsewhere\n', null],
  ])('%s', (_, own, expected) => {
    expect(coreQuota(root, own)).toBe(expected);
  });
});
