/** Nothing leaves the machine: what Graft does by itself sends no packet and writes nothing outside of its folders. */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inOwnNetwork, mayHaveNetwork } from '../support/namespaces.ts';
import { repository } from './support.ts';

const program = join(repository, 'dist/cli/main.js');
const library = new URL('../../dist/index.js', import.meta.url).href;

/** Seconds that a program keeps its engine; the runtime's telemetry waits for about nine before it sends. */
const patience = 15;

/** Trains, predicts, keeps the engine until a packet is sent or the time is over, and says how long that was. */
const waiting = `
  import { readFileSync } from 'node:fs';
  import { layers, sequential, tensor } from ${JSON.stringify(library)};
  const model = sequential([
    layers.input({ shape: [4] }),
    layers.dense({ units: 2, activation: 'softmax' }),
  ]);
  model.compile({ loss: 'sparseCategoricalCrossentropy' });
  const x = tensor('float32', [8, 4]);
  await model.fit({ x, y: tensor('int32', [8]) }, { verbose: false });
  await model.predict(x);
  const sent = () => /outside:(?:\\s*\\d+){9}\\s*[1-9]/.test(readFileSync('/proc/net/dev', 'utf8'));
  const start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  while (!sent() && seconds() < Number(process.argv[1])) await new Promise((resolve) => setTimeout(resolve, 100));
  console.log(seconds());
  await model.close();`;

const root = await mkdtemp(join(tmpdir(), 'graft-privacy-'));
afterAll(() => rm(root, { recursive: true, force: true }));
const hasNetwork = mayHaveNetwork(root);

/** Folders where everything is fresh. `home` and `temporary` are to stay empty. */
class Place {
  readonly #folder: string;
  /** Packets that have left the loopback interface; none are counted where there can be no network to count them in. */
  packets = 0;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async make(name: string): Promise<Place> {
    for (const part of ['home', 'temporary', 'cache', 'work', 'network'])
      await mkdir(join(root, name, part), { recursive: true });
    return new Place(join(root, name));
  }

  path(...names: string[]): string {
    return join(this.#folder, ...names);
  }

  /** Runs a command with nothing in its environment but what is given: `CI`, among others, silences the runtime. */
  async run(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
    const network = this.path('network');
    const [program, ...args] = hasNetwork ? inOwnNetwork(network, command) : command;
    const folders = { HOME: this.path('home'), TMPDIR: this.path('temporary') };
    const child = spawn(program!, args, {
      cwd: this.path('work'),
      env: { PATH: process.env['PATH']!, ...folders, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const closed = new Promise<number | null>((resolve) => child.on('close', resolve));
    const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), closed]);
    expect(code, err).toBe(0);
    if (hasNetwork) this.packets += packetsIn(await readFile(join(network, 'devices'), 'utf8'));
    return out;
  }

  /** What is in a folder. */
  async left(name: 'home' | 'temporary'): Promise<string[]> {
    return readdir(this.path(name), { recursive: true });
  }
}

/** The tenth number of an interface is that of the packets that it has sent. */
function packetsIn(devices: string): number {
  return Number(/outside:(?:\s*\d+){9}\s*(\d+)/.exec(devices)![1]);
}

const graft = (...args: string[]) => [process.execPath, program, ...args];
/** Takes the variable away again that the engine's process is started with. */
const withoutVariable = {
  NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent('delete process.env.ORT_DISABLE_TELEMETRY')}`,
};

describe('without CI, in a fresh home and with a fresh temporary folder', () => {
  let here: Place;
  beforeAll(async () => {
    here = await Place.make('trained');
    for (const [name, hue] of [
      ['red', 0],
      ['blue', 240],
    ] as const) {
      await mkdir(here.path('work', 'images', name), { recursive: true });
      for (let i = 0; i < 10; i++) {
        const background = `hsl(${hue + i}, 80%, ${40 + i}%)`;
        const image = sharp({ create: { width: 32, height: 32, channels: 3, background } });
        await image.png().toFile(here.path('work', 'images', name, `${i}.png`));
      }
    }
    const args = ['--data', 'images', '--backbone', 'cifar_resnet', '--epochs', '2', '--threads', '1'];
    await here.run(graft('train', ...args, '--out', 'run', '-q'), { GRAFT_CACHE: here.path('cache') });
  }, 120_000);

  it('train, predict, evaluate and start leave nothing in either and send nothing', async () => {
    // This needs no cache: its usual folder, in the home, must not be there either.
    const predicted = await here.run(graft('predict', '--model', 'run', 'images/red/3.png'));
    expect(predicted).toMatch(/^images\/red\/3\.png {2}(red|blue) [\d.]+ %/);
    const cache = { GRAFT_CACHE: here.path('cache') };
    await here.run(graft('evaluate', '--model', 'run', '-q'), cache);
    await here.run(graft('start', '--limit', '40', '--threads', '1', '-q'), cache);
    expect(await here.left('home')).toEqual([]);
    expect(await here.left('temporary')).toEqual([]);
    expect(here.packets).toBe(0);
  }, 240_000);

  it('and would leave traces, had the engine not its variable', async () => {
    const there = await Place.make('traces');
    const [model, picture] = [here.path('work', 'run'), here.path('work', 'images/red/3.png')];
    await there.run(graft('predict', '--model', model, picture), withoutVariable);
    expect((await there.left('home')).some((name) => name.endsWith('deviceid'))).toBe(true);
    expect(await there.left('temporary')).not.toEqual([]);
  });

  it.runIf(hasNetwork)(
    'no packet is sent while an engine waits, and would be without the variable',
    async () => {
      const [quiet, loud] = [await Place.make('quiet'), await Place.make('loud')];
      const wait = (seconds: number) => [
        process.execPath,
        '--input-type=module',
        '--eval',
        waiting,
        String(seconds),
      ];
      const [, waited] = await Promise.all([quiet.run(wait(patience)), loud.run(wait(60), withoutVariable)]);
      expect(quiet.packets).toBe(0);
      expect(loud.packets).toBeGreaterThan(0);
      expect(Number(waited), 'seconds until a packet is sent, of which the quiet one gave more').toBeLessThan(
        patience,
      );
    },
  );
});
