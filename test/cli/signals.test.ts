/** What happens around a training does not decide about it: a console that is gone, a terminal that closes. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeMirror, makeWorkplace, repository, tiny, type Workplace, words } from './support.ts';

let workplace: Workplace;
beforeAll(async () => {
  workplace = await makeWorkplace();
  await makeMirror(workplace.path('mirror'));
}, 60_000);
afterAll(() => workplace.remove());

const program = join(repository, 'dist/cli/main.js');
const training = (run: string, epochs: number, ...more: string[]) => [
  ...words(`train ${tiny} --head gap,bn --epochs ${epochs} --out ${run}`),
  ...more,
];

/** By a shell, as people do it: `$@` is the program with its arguments. */
function shell(script: string, args: readonly string[]): ChildProcess {
  return spawn('sh', ['-c', script, 'sh', process.execPath, program, ...args], {
    cwd: workplace.folder,
    env: {
      ...process.env,
      GRAFT_CACHE: workplace.path('cache'),
      GRAFT_MIRROR: workplace.path('mirror'),
      // A shell's word about what it started, inherited from wherever the tests were started.
      _: '',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of processes, as a terminal has.
    detached: true,
  });
}

async function codeOf(child: ChildProcess): Promise<number | null> {
  const [code] = (await once(child, 'exit')) as [number | null];
  return code;
}

async function expectFinished(run: string): Promise<void> {
  expect((await workplace.record(run)).status).toBe('finished');
  const files = await readdir(workplace.path(run));
  expect(files).toContain('report.html');
  expect(files.filter((name) => name.endsWith('.lock') || name.startsWith('checkpoint'))).toEqual([]);
}

describe('a console that cannot be written to', () => {
  it.each([[[]], [['--json']]])('closed after the first line, %j', async (more) => {
    const run = `runs/closed${more.join('')}`;
    const child = shell('exec "$@"', training(run, 3, ...more));
    const loud = more.length === 0 ? child.stdout! : child.stderr!;
    loud.once('data', () => {
      child.stdout!.destroy();
      child.stderr!.destroy();
    });
    expect(await codeOf(child)).toBe(0);
    await expectFinished(run);
  });

  it.skipIf(!existsSync('/dev/full'))('full', async () => {
    const child = shell('exec "$@" >/dev/full 2>/dev/full', training('runs/full', 3));
    expect(await codeOf(child)).toBe(0);
    await expectFinished('runs/full');
  });

  it('closed, with a search and its trials', async () => {
    const search = `sweep ${tiny} --head gap,bn --epochs 2 --validation-split 0.2 --grid learning-rate=0.1,0.01`;
    const child = shell('exec "$@"', words(`${search} --out runs/sweep`));
    child.stdout!.destroy();
    child.stderr!.destroy();
    expect(await codeOf(child)).toBe(0);
    for (const trial of ['001', '002']) {
      expect((await workplace.record(`runs/sweep/${trial}`)).status).toBe('finished');
    }
  });
});

const hasScript = spawnSync('script', ['--version']).status === 0;

it.skipIf(!hasScript)('a terminal that is gone leaves a job and its exit code alone', async () => {
  const args = [process.execPath, program, ...training('runs/terminal', 30)].map((word) => `'${word}'`);
  const command = `trap '' HUP; ${args.join(' ')}; echo $? > code`;
  // Makes a terminal, which closes with it.
  const terminal = spawn('script', ['-q', '-c', command, '/dev/null'], {
    cwd: workplace.folder,
    env: { ...process.env, GRAFT_CACHE: workplace.path('cache'), GRAFT_MIRROR: workplace.path('mirror') },
    stdio: 'ignore',
  });
  while (!existsSync(workplace.path('runs/terminal/checkpoint.safetensors'))) await wait(5);
  terminal.kill('SIGKILL');
  while (!existsSync(workplace.path('code'))) await wait(50);
  await expect.poll(() => readFile(workplace.path('code'), 'utf8')).toBe('0\n');
  await expectFinished('runs/terminal');
});

describe('signals', () => {
  const running = async (run: string) => {
    while (!existsSync(workplace.path(run, 'checkpoint.safetensors'))) await wait(5);
  };

  it.each([
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s stops after a step and saves, twice in a row too', async (signal, code) => {
    const run = `runs/${signal}`;
    const child = shell('exec "$@"', training(run, 500));
    await running(run);
    // To the process and to its group, as `timeout` sends it: its engine hears it too.
    child.kill(signal);
    process.kill(-child.pid!, signal);
    expect(await codeOf(child)).toBe(code);
    expect((await workplace.record(run)).status).toBe('stopped');
    expect((await readdir(workplace.path(run))).sort()).toEqual(
      ['checkpoint.safetensors', 'cifar10.h5', 'history.csv', 'run.json'].sort(),
    );
  });

  const outlives = {
    'a shell that ignores hangups': `trap '' HUP; "$@"; exit $?`,
    'a shell that names nohup': 'exec env _=/usr/bin/nohup "$@"',
  };
  it.skipIf(!existsSync('/proc/self/status')).each(Object.entries(outlives))(
    'a closed terminal does not end what was started by %s',
    async (_who, script) => {
      const run = `runs/nohup${script.length}`;
      const child = shell(script, training(run, 30));
      await running(run);
      process.kill(-child.pid!, 'SIGHUP');
      expect(await codeOf(child)).toBe(0);
      await expectFinished(run);
    },
  );
});
