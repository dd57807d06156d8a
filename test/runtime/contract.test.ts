/**
 * What every device owes: each operation and its gradients as the reference computes them, for more than one
 * batch size in one session, and a training that stays beside the reference step by step.
 */

import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { float32, type Tensor, tensor } from '../../src/core/tensor.ts';
import { differentiate } from '../../src/graph/autodiff.ts';
import { type Node, type OpName, topologicalOrder } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { evaluate, toValue, type Value } from '../../src/graph/reference.ts';
import { emitModel } from '../../src/onnx/emit.ts';
import { type Device, Engine } from '../../src/runtime/engine.node.ts';
import { devicesUnderTest } from '../support/devices.ts';
import { weightedSum, weightsFor } from '../support/loss.ts';
import { buildCase, isBatched, type OperationCase, operationCases } from '../support/operation_cases.ts';
import { residentMegabytes } from '../support/processes.ts';
import { startTraining } from '../support/small_network.ts';

/** Largest difference, relative to the largest magnitude of what was expected. */
const tolerance: { readonly [D in Device]: number } = { cpu: 1e-5, webgpu: 1e-5, cuda: 1e-5 };

/** WGSL promises sine and cosine only to 2⁻¹¹ = 4.9e-4, on −π … π (its specification, "Floating Point Accuracy"). */
function toleranceOf(device: Device, op: OpName): number {
  return device === 'webgpu' && (op === 'sin' || op === 'cos') ? 1e-3 : tolerance[device];
}

/** Checks one output: the largest error anywhere, and where that is. */
function expectClose(name: string, got: Tensor, expected: Value, relative: number): void {
  expect(got.shape, `shape of ${name}`).toEqual(expected.shape);
  const scale = expected.data.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
  const values = toValue(got).data;
  const errors = values.map((value, i) => Math.abs(value - expected.data[i]!) / scale);
  // A NaN is the worst of all.
  const worst = errors.reduce((at, error, i) => (error <= errors[at]! ? at : i), 0);
  const text = `${name}[${worst}] is ${values[worst]}, the reference says ${expected.data[worst]}`;
  expect(errors[worst], text).toBeLessThanOrEqual(relative);
}

async function checkCase(engine: Engine, op: OpName, operationCase: OperationCase): Promise<void> {
  const { targets, value, feeds: feedsFor } = buildCase(op, operationCase);
  const gradients = differentiate(weightedSum(value), targets);
  const outputs: Record<string, Node> = { y: value };
  gradients.forEach((gradient, i) => {
    outputs[`gradient_${i}`] = gradient;
  });
  const session = await engine.load(emitModel(outputs));
  try {
    const batches = isBatched(operationCase) ? [2, 3] : [1, 1];
    for (const [round, batch] of batches.entries()) {
      const feeds = { ...feedsFor(batch, round), ...weightsFor(value, batch) };
      const used = usedInputs(Object.values(outputs), feeds);
      const results = await session.run(used);
      const expected = evaluate(
        Object.values(outputs),
        Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, toValue(tensor)])),
        batch,
      );
      Object.keys(outputs).forEach((name, i) => {
        expectClose(`batch ${batch}, ${name}`, results[name]!, expected[i]!, toleranceOf(engine.device, op));
      });
    }
  } finally {
    await session.release();
  }
}

/** An input that no output depends on is not part of the model. */
function usedInputs(outputs: readonly Node[], feeds: Readonly<Record<string, Tensor>>) {
  const used = topologicalOrder(outputs).flatMap((node) =>
    node.op === 'input' ? [node.attributes.name] : [],
  );
  return Object.fromEntries(used.map((name) => [name, feeds[name]!]));
}

for (const { device, missing } of await devicesUnderTest()) {
  const title = missing === null ? `the device ${device}` : `the device ${device} (skipped: ${missing})`;
  describe.skipIf(missing !== null)(title, () => {
    // Two side by side: software Vulkan compiles what a case needs on one core.
    let engines: readonly [Engine, Engine];
    let engine: Engine;
    beforeAll(() => {
      engines = [Engine.start({ device, threads: 2 }), Engine.start({ device, threads: 2 })];
      engine = engines[0];
    });
    afterAll(async () => {
      await Promise.all(engines.map((each) => each.close()));
    });

    let cases = 0;
    describe.concurrent.each(
      (Object.keys(operationCases) as OpName[]).filter((op) => operationCases[op].length > 0),
    )('%s and its gradients equal the reference', (op) => {
      for (const operationCase of operationCases[op]) {
        const turn = cases++ % 2;
        it(operationCase.name, () => checkCase(engines[turn]!, op, operationCase));
      }
    });

    it('state comes back bit for bit', async () => {
      const written = {
        weights: float32([3, 2], [1.5, -0, 1e-30, 3e38, Math.fround(0.1), 7]),
        scalar: float32([], [0.25]),
        ids: tensor('int32', [2], Int32Array.of(-5, 2 ** 30)),
        nothing: tensor('float32', [0, 3]),
      };
      await engine.write(written);
      expect(await engine.read(Object.keys(written))).toEqual(written);
      await engine.forget(Object.keys(written));
    });

    it.skipIf(!existsSync('/proc/self/status'))(
      'replacing state 200 times does not take more memory',
      async () => {
        const size = 500_000; // 2 MB: a leak would be 400 MB
        const next = o.add(o.input('w', [size]), o.input('x', []));
        const session = await engine.load(
          emitModel({ next, first: o.slice(next, [{ axis: 0, start: 0, end: 1 }]) }),
          {
            reads: { w: 'leak/w' },
            writes: { next: 'leak/w' },
          },
        );
        await engine.write({ 'leak/w': tensor('float32', [size]) });
        const sizes: number[] = [];
        for (let step = 1; step <= 200; step++) {
          const { first } = await session.run({ x: float32([], [1]) });
          expect(first!.data[0]).toBe(step);
          if (step % 40 === 0) sizes.push(residentMegabytes(engine.pid!));
        }
        const text = `resident megabytes of the engine on ${device}, every 40 runs: ${sizes.join(' ')}`;
        console.log(text);
        expect(Math.max(...sizes) - sizes[0]!, text).toBeLessThan(100);
        await engine.forget(['leak/w']);
      },
    );

    it('ten steps of training equal ten steps of the reference', async () => {
      const training = await startTraining(engine);
      const losses: number[] = [];
      for (let step = 0; step < 10; step++) {
        const { engineLoss, referenceLoss } = await training.step(step);
        losses.push(referenceLoss);
        expect(Math.abs(engineLoss - referenceLoss), `loss of step ${step}`).toBeLessThan(1e-4);
      }
      expect(losses[9]!, 'the training does learn').toBeLessThan(losses[0]! * 0.8);
      const { engineState, referenceState, initialState } = await training.state();
      for (const [name, expected] of Object.entries(referenceState)) {
        expectClose(name, engineState[name]!, expected, 1e-4);
        // A step of training moves each weight by more than the tolerance, or the comparison would mean nothing.
        const moved = expected.data.map((value, i) => Math.abs(value - initialState[name]!.data[i]!));
        const scale = Math.max(...expected.data.map(Math.abs));
        expect(Math.max(...moved) / scale, `${name} has moved`).toBeGreaterThan(1e-2);
      }
    });
  });
}
