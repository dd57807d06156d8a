/** The manners of an engine: order, failures, state, memory, and its life beside the process that started it. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { float32, rows, type Tensor, tensor } from '../../src/core/tensor.ts';
import type { GraphDType } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { emitModel } from '../../src/onnx/emit.ts';
import { Engine } from '../../src/runtime/engine.node.ts';
import { isAlive, processorTime, residentMegabytes } from '../support/processes.ts';

const run = promisify(execFile);
const vector = (...values: number[]): Tensor<'float32'> => float32([values.length], values);

/** y = 2x for x [batch, 2]. */
const doubled = { y: o.mul(o.input('x', [-1, 2]), 2) };
const doubling = emitModel(doubled);
/** total ← total + x, and twice the sum comes back. */
const adding = (() => {
  const next = o.add(o.input('total', [2]), o.input('x', [2]));
  return emitModel({ next, twice: o.mul(next, 2) });
})();
const accumulating = { reads: { total: 'sum' }, writes: { next: 'sum' } };

/** A chain of products: 2 GFLOP each. */
function slowModel(products: number): Uint8Array {
  let value = o.input('x', [1024, 1024]);
  for (let i = 0; i < products; i++) value = o.mul(o.matmul(value, value), 1e-3);
  return emitModel({ y: o.sum(value) });
}

describe('an engine', () => {
  let engine: Engine;
  beforeAll(() => {
    engine = Engine.start({ threads: 2 });
  });
  afterAll(() => engine.close());

  it('answers requests in the order in which they came', async () => {
    const session = await engine.load(doubling);
    const order: number[] = [];
    const answers = Array.from({ length: 20 }, async (_, i) => {
      const { y } = await session.run({ x: float32([1, 2], [i, -i]) });
      order.push(i);
      return [...y!.data];
    });
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 20 }, (_, i) => [2 * i, -2 * i]));
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  it('takes any batch size in one session, none included', async () => {
    const session = await engine.load(doubling);
    for (const batch of [1, 7, 3, 0]) {
      const { y } = await session.run({ x: tensor('float32', [batch, 2]) });
      expect(y!.shape).toEqual([batch, 2]);
    }
  });

  it('keeps rows of a data set that it was fed once, until it is told to forget them', async () => {
    const session = await engine.load(doubling);
    const gathering = await engine.load(emitModel(doubled, { gathered: ['x'] }));
    const at = (...indices: number[]) => ({ set: 'a', length: 4, indices, steps: 1, inputs: ['x'] });
    await session.run({ x: float32([2, 2], [20, 21, 0, 1]) }, at(2, 0));
    await session.run({ x: float32([1, 2], [30, 31]) }, at(3));
    const rowsAt = async (...indices: number[]) => [...(await gathering.run({}, at(...indices)))['y']!.data];
    expect(await rowsAt(0, 2, 3, 2)).toEqual([0, 2, 40, 42, 60, 62, 40, 42]);
    expect(await rowsAt(3, 0, 3, 0)).toEqual([60, 62, 0, 2, 60, 62, 0, 2]);
    expect(await rowsAt(2)).toEqual([40, 42]);
    await engine.forgetRows();
    await expect(rowsAt(2)).rejects.toMatchObject({
      code: 'state',
      message: 'The engine keeps no rows of "x" in "a".',
    });
  });

  it('fails a run alone, saying what came and what was expected', async () => {
    const session = await engine.load(doubling);
    const good = { x: float32([1, 2], [1, 2]) };
    const results = await Promise.allSettled([
      session.run({ x: float32([1, 3], [1, 2, 3]) }),
      session.run(good),
      session.run({}),
      session.run({ ...good, z: good.x }),
      session.run({ x: tensor('int32', [1, 2]) }),
      session.run(good),
    ]);
    const texts = results.map((result) =>
      result.status === 'fulfilled'
        ? [...result.value['y']!.data]
        : `${result.reason.code}: ${result.reason.message}`,
    );
    expect(texts).toEqual([
      'shape: Input "x" needs shape [batch, 2], got [1, 3].',
      [2, 4],
      'argument: Input "x" was not fed.',
      'argument: The graph has no input "z"; its inputs are: x.',
      'shape: Input "x" needs dtype float32, got int32.',
      [2, 4],
    ]);
    expect(results.map((result) => result.status === 'rejected' && result.reason.name)).toContain(
      'GraftError',
    );
  });

  it('refuses what is no model', async () => {
    await expect(engine.load(Uint8Array.of(1, 2, 3))).rejects.toMatchObject({ name: 'GraftError' });
    const session = await engine.load(doubling);
    expect((await session.run({ x: float32([1, 2], [1, 2]) }))['y']!.data[1]).toBe(4);
  });

  it('refuses a session that was released', async () => {
    const session = await engine.load(doubling);
    await session.release();
    await session.release();
    await expect(session.run({ x: float32([1, 2], [1, 2]) })).rejects.toMatchObject({
      code: 'state',
      message: 'This session has been released.',
    });
  });

  it('carries every dtype there and back', async () => {
    const values: { readonly [D in GraphDType]: Tensor } = {
      float32: float32([2, 1], [1.5, -0]),
      float16: tensor('float16', [2], Uint16Array.of(0x3c00, 0x7c00)),
      int32: tensor('int32', [2], Int32Array.of(-(2 ** 31), 7)),
      uint8: tensor('uint8', [2, 2], Uint8Array.of(0, 255, 1, 2)),
      bool: tensor('bool', [2], Uint8Array.of(1, 0)),
    };
    const nodes = Object.entries(values).map(([dtype, { shape }]) =>
      o.input(dtype, shape, dtype as GraphDType),
    );
    const outputs = nodes.map((node) => [`${node.dtype} back`, node] as const);
    const session = await engine.load(emitModel(Object.fromEntries(outputs)));
    const results = await session.run(values);
    for (const [dtype, value] of Object.entries(values))
      expect(results[`${dtype} back`], dtype).toEqual(value);
  });

  it('takes a view into larger memory for what it shows', async () => {
    const session = await engine.load(doubling);
    const all = float32([3, 2], [1, 2, 3, 4, 5, 6]);
    expect((await session.run({ x: rows(all, 1, 2) }))['y']).toEqual(float32([1, 2], [6, 8]));
    expect(all.data).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6));
  });

  describe('with state', () => {
    it('reads it, replaces it and keeps it', async () => {
      const session = await engine.load(adding, accumulating);
      await engine.write({ sum: vector(1, 10) });
      expect(await session.run({ x: vector(1, 1) })).toEqual({ twice: vector(4, 22) });
      expect(await session.run({ x: vector(2, 2) })).toEqual({ twice: vector(8, 26) });
      expect(await engine.read(['sum'])).toEqual({ sum: vector(4, 13) });
    });

    it('shares it between sessions', async () => {
      const first = await engine.load(adding, accumulating);
      const second = await engine.load(emitModel({ y: o.neg(o.input('w', [2])) }), { reads: { w: 'sum' } });
      await engine.write({ sum: vector(0, 0) });
      await first.run({ x: vector(1, 2) });
      expect(await second.run({})).toEqual({ y: vector(-1, -2) });
      expect(await second.run({})).toEqual({ y: vector(-1, -2) });
    });

    it('keeps two states apart that were written from the same memory', async () => {
      const session = await engine.load(adding, accumulating);
      const zeros = vector(0, 0);
      await engine.write({ sum: zeros, other: zeros });
      await session.run({ x: vector(1, 2) });
      expect(await engine.read(['sum', 'other'])).toEqual({ sum: vector(1, 2), other: vector(0, 0) });
      await engine.write({ sum: vector(5, 5) });
      expect(await engine.read(['other'])).toEqual({ other: vector(0, 0) });
    });

    it('answers copies, which later runs do not change', async () => {
      const session = await engine.load(adding, accumulating);
      await engine.write({ sum: vector(0, 0) });
      const before = engine.read(['sum']);
      const running = session.run({ x: vector(1, 1) });
      const after = engine.read(['sum']);
      await running;
      expect((await before)['sum']).toEqual(vector(0, 0));
      expect((await after)['sum']).toEqual(vector(1, 1));
    });

    it('leaves it as it was when a run fails', async () => {
      const session = await engine.load(adding, accumulating);
      await engine.write({ sum: vector(3, 4) });
      await expect(session.run({ x: vector(1, 2, 3) })).rejects.toMatchObject({ name: 'GraftError' });
      expect(await engine.read(['sum'])).toEqual({ sum: vector(3, 4) });
    });

    it('says when it is not there', async () => {
      const message = 'The engine has no state named "sum".';
      await engine.write({ sum: vector(1, 1) });
      await engine.forget(['sum', 'never there']);
      await expect(engine.read(['sum'])).rejects.toMatchObject({ code: 'state', message });
      const session = await engine.load(adding, accumulating);
      await expect(session.run({ x: vector(1, 1) })).rejects.toMatchObject({ code: 'state', message });
    });
  });

  it('lets timers of its caller fire during a long run', async () => {
    const session = await engine.load(slowModel(30));
    let ticks = 0;
    const timer = setInterval(() => ticks++, 10);
    const start = performance.now();
    await session.run({ x: tensor('float32', [1024, 1024]) });
    clearInterval(timer);
    const elapsed = performance.now() - start;
    expect(elapsed, 'the run is long enough to tell').toBeGreaterThan(100);
    expect(ticks).toBeGreaterThan(elapsed / 10 / 4);
    await session.release();
  });
});

describe('two engines', () => {
  it('work at once with states of their own', async () => {
    const engines = [Engine.start({ threads: 1 }), Engine.start({ threads: 1 })];
    const totals = await Promise.all(
      engines.map(async (engine, i) => {
        const session = await engine.load(adding, accumulating);
        await engine.write({ sum: vector(0, 0) });
        for (let k = 0; k < 5; k++) await session.run({ x: vector(i + 1, 10) });
        return (await engine.read(['sum']))['sum'];
      }),
    );
    expect(totals).toEqual([vector(5, 50), vector(10, 50)]);
    await Promise.all(engines.map((engine) => engine.close()));
  });
});

describe('closing', () => {
  it('answers what was asked before, then refuses', async () => {
    const engine = Engine.start({ threads: 1 });
    const session = await engine.load(doubling);
    // Larger than what fits into a pipe at once.
    const large = tensor('float32', [400_000, 2]);
    const asked = [session.run({ x: large }), session.run({ x: float32([1, 2], [1, 2]) })];
    const closing = engine.close();
    await expect(session.run({ x: large })).rejects.toMatchObject({
      code: 'state',
      message: 'The engine is closed.',
    });
    await closing;
    const [first, second] = await Promise.all(asked);
    expect([first!['y']!.shape, [...second!['y']!.data]]).toEqual([
      [400_000, 2],
      [2, 4],
    ]);
    await expect(engine.write({})).rejects.toMatchObject({ code: 'state', message: 'The engine is closed.' });
  });

  it('twice is allowed, and either waits until the engine is gone', async () => {
    const engine = Engine.start({ threads: 1 });
    await engine.load(doubling);
    const pid = engine.pid!;
    const first = engine.close();
    await engine.close();
    expect(isAlive(pid)).toBe(false);
    await first;
    await engine.close();
  });

  it('an engine that was never used works', async () => {
    await Engine.start().close();
  });
});

describe('an engine whose process dies', () => {
  it('rejects what was asked and all later requests', async () => {
    const engine = Engine.start({ threads: 1 });
    const session = await engine.load(doubling);
    const asked = session.run({ x: tensor('float32', [2_000_000, 2]) });
    process.kill(engine.pid!, 'SIGKILL');
    const message = "The engine's process ended (SIGKILL). The system does that when memory runs out.";
    const death = { code: 'device', message };
    await expect(asked).rejects.toMatchObject(death);
    await expect(session.run({ x: tensor('float32', [1, 2]) })).rejects.toMatchObject(death);
    await engine.close();
  });

  it('is told with what was lost, by whoever knows', async () => {
    const asked: boolean[] = [];
    const onDeath = (waiting: boolean) => {
      asked.push(waiting);
      return 'All is lost.';
    };
    const engine = Engine.start({ threads: 1, onDeath });
    await engine.load(doubling);
    const request = engine.read([]);
    process.kill(engine.pid!, 'SIGKILL');
    await Promise.allSettled([request]);
    await expect(engine.read([])).rejects.toThrow(
      /^The engine's process ended \(SIGKILL\)\. .* All is lost\.$/,
    );
    await engine.close();
    const other = Engine.start({ threads: 1, onDeath });
    await other.load(doubling);
    await other.close();
    expect(asked, 'once, and not for one that was closed').toHaveLength(1);
  });

  it('leaves no listener behind, nor does any number of engines', async () => {
    const before = process.listenerCount('exit');
    const engines = Array.from({ length: 3 }, () => Engine.start({ threads: 1 }));
    expect(process.listenerCount('exit')).toBeLessThanOrEqual(before + 1);
    process.kill(engines[0]!.pid!, 'SIGKILL');
    await Promise.all(engines.map((engine) => engine.close()));
    expect(process.listenerCount('exit')).toBeLessThanOrEqual(before);
  });
});

describe('the process that started an engine', () => {
  const module = fileURLToPath(new URL('../../dist/runtime/engine.node.js', import.meta.url));
  const script = (rest: string) => `
    import { Engine } from ${JSON.stringify(module)};
    const engine = Engine.start({ threads: 1 });
    const model = Buffer.from('${Buffer.from(doubling).toString('base64')}', 'base64');
    const session = await engine.load(new Uint8Array(model));
    const feeds = { x: { dtype: 'float32', shape: [1, 2], data: Float32Array.of(1, 2) } };
    ${rest}`;
  const runScript = async (rest: string, limits = '') => {
    const args = ['--input-type=module', '--eval', script(rest)];
    const shell = ['-c', `${limits} exec "$0" "$@"`, process.execPath];
    const { stdout } = await run('sh', [...shell, ...args], { timeout: 20_000 });
    return stdout.trim().split(/\s+/);
  };
  it('waits for a pending answer, and ends although the engine is idle', async () => {
    const [pid, value] = await runScript(
      'console.log(engine.pid); session.run(feeds).then(({ y }) => console.log(y.data[1]));',
    );
    expect(value).toBe('4');
    await expect.poll(() => isAlive(Number(pid))).toBe(false);
  });

  it('alone hears a signal to its group, also while an engine is just starting', async () => {
    const text = `
      import { Engine } from ${JSON.stringify(module)};
      process.on('SIGTERM', () => console.log('heard'));
      const engine = Engine.start({ threads: 1 });
      process.kill(-process.pid, 'SIGTERM');
      const session = await engine.load(new Uint8Array(Buffer.from('${Buffer.from(doubling).toString('base64')}', 'base64')));
      await session.release();
      await engine.close();
      console.log('loaded');`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', text], {
      detached: true,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    child.stdout.on('data', (piece) => {
      said += String(piece);
    });
    await once(child, 'close');
    expect(said.trim().split('\n').sort()).toEqual(['heard', 'loaded']);
  });

  it('is told where no more files can be open', async () => {
    const said = await runScript(
      `
      const { openSync, closeSync } = await import('node:fs');
      await engine.close();
      const open = [];
      try {
        for (;;) open.push(openSync('/dev/null'));
      } catch {}
      // For what is read before the process is started.
      closeSync(open.pop());
      try {
        Engine.start({ threads: 1 });
      } catch (error) {
        console.log(error.code, error.message);
      }`,
      'ulimit -n 200;',
    );
    expect(said.join(' ')).toBe(
      "device The engine's process could not start: too many files are open; raise the limit (ulimit -n).",
    );
  });

  it('ends after closing it', async () => {
    const [pid] = await runScript('console.log(engine.pid); await session.run(feeds); await engine.close();');
    expect(isAlive(Number(pid))).toBe(false);
  });

  it('takes the engine with it when it exits in the middle of a run', async () => {
    // The run would go on for seconds.
    const slow = Buffer.from(slowModel(300)).toString('base64');
    const [pid] = await runScript(`
      const slow = await engine.load(new Uint8Array(Buffer.from('${slow}', 'base64')));
      const running = slow.run({ x: { dtype: 'float32', shape: [1024, 1024], data: new Float32Array(2 ** 20) } });
      await new Promise((resolve) => setTimeout(resolve, 200));
      console.log(engine.pid);
      process.exit(0);`);
    await expect.poll(() => isAlive(Number(pid))).toBe(false);
  });

  describe('in the midst of a call that never returns', () => {
    const endless = readFileSync(new URL('fixtures/loop_forever.onnx', import.meta.url)).toString('base64');
    const begin = async () => {
      const parent = spawn(process.execPath, [
        ...['--input-type=module', '--eval'],
        script(`
          const endless = await engine.load(new Uint8Array(Buffer.from('${endless}', 'base64')));
          const image = { dtype: 'float32', shape: [1, 3, 32, 32], data: new Float32Array(3072) };
          endless.run({ image });
          console.log(engine.pid);`),
      ]);
      const [line] = await once(parent.stdout, 'data');
      const pid = Number(line);
      const start = processorTime(pid);
      await expect.poll(() => processorTime(pid), { timeout: 20_000 }).toBeGreaterThan(start + 0.2);
      return { parent, pid };
    };

    it('takes the engine with it within a second, also if it is killed', async () => {
      const { parent, pid } = await begin();
      parent.kill('SIGKILL');
      await once(parent, 'exit');
      await expect.poll(() => isAlive(pid), { timeout: 1000, interval: 20 }).toBe(false);
    });

    it('may be stopped for a while, and decides alone what a signal means', async () => {
      const { parent, pid } = await begin();
      parent.kill('SIGSTOP');
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(pid, signal);
      await new Promise((resolve) => setTimeout(resolve, 1500));
      expect(isAlive(pid)).toBe(true);
      parent.kill('SIGKILL');
      await expect.poll(() => isAlive(pid), { timeout: 1000, interval: 20 }).toBe(false);
    });
  });
});

describe('devices', () => {
  const advice = {
    webgpu: 'It needs a GPU with a Vulkan, Metal or Direct3D 12 driver; use --device cpu otherwise.',
    cuda:
      'It needs Linux on x64, an NVIDIA GPU, CUDA 12 or newer, and the CUDA libraries of onnxruntime-node, which its ' +
      'install script fetches: npm install onnxruntime-node@1.30.0. Use --device cpu otherwise.',
  };
  it.for(['webgpu', 'cuda'] as const)(
    'that are not there say so and what to do: %s',
    async (device, { skip }) => {
      const engine = Engine.start({ device });
      const failure: unknown = await engine.load(doubling).catch((error: unknown) => error);
      await engine.close();
      if (!(failure instanceof Error)) return skip(`${device} is there`);
      expect(failure).toMatchObject({ code: 'device', name: 'GraftError' });
      const start = `The device "${device}" is not available: `;
      expect(failure.message.startsWith(start), failure.message).toBe(true);
      expect(failure.message.endsWith(`. ${advice[device]}`), failure.message).toBe(true);
    },
  );
});

describe('memory', () => {
  it.skipIf(!existsSync('/proc/self/status'))(
    'does not grow over 200 runs that replace 20 MB of state',
    async () => {
      const engine = Engine.start({ threads: 2 });
      const size = 5_000_000;
      const next = o.add(o.input('w', [size]), o.input('x', []));
      const session = await engine.load(emitModel({ next, last: o.reduceMax(next) }), {
        reads: { w: 'w' },
        writes: { next: 'w' },
      });
      await engine.write({ w: tensor('float32', [size]) });
      const sizes: number[] = [];
      let last = 0;
      for (let step = 1; step <= 200; step++) {
        last = (await session.run({ x: float32([], [1]) }))['last']!.data[0] as number;
        if (step % 20 === 0) sizes.push(residentMegabytes(engine.pid!));
      }
      expect(last).toBe(200);
      const message = `resident megabytes of the engine after every 20 runs: ${sizes.join(' ')}`;
      console.log(message);
      // One leaked state would be 20 MB a run.
      expect(Math.max(...sizes.slice(1)) - sizes[0]!, message).toBeLessThan(60);
      await engine.close();
    },
  );
});
