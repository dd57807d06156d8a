/**
 * What every device owes: each operation and its gradients as the reference computes them, for more than one
 * batch size in one session, and a training that stays beside the reference step by step.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Tensor } from '../../src/core/tensor.ts';
import { differentiate } from '../../src/graph/autodiff.ts';
import type { Node, OpName } from '../../src/graph/node.ts';
import { evaluate, toValue, type Value } from '../../src/graph/reference.ts';
import { emitModel } from '../../src/onnx/emit.ts';
import { type Device, Engine } from '../../src/runtime/engine.node.ts';
import { devicesUnderTest } from '../support/devices.ts';
import { weightedSum, weightsFor } from '../support/loss.ts';
import { buildCase, isBatched, type OperationCase, operationCases } from '../support/operation_cases.ts';
import { startTraining } from '../support/small_network.ts';

/** Largest difference, relative to the largest magnitude of what was expected. */
const tolerance: { readonly [D in Device]: number } = { cpu: 1e-5, webgpu: 1e-5, cuda: 1e-5 };

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
  const { inputs, value, feeds: feedsFor } = buildCase(op, operationCase);
  const targets = inputs.filter(({ dtype }) => dtype === 'float32');
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
        expectClose(`batch ${batch}, ${name}`, results[name]!, expected[i]!, tolerance[engine.device]);
      });
    }
  } finally {
    await session.release();
  }
}

/** An input that no output depends on is not part of the model. */
function usedInputs(outputs: readonly Node[], feeds: Readonly<Record<string, Tensor>>) {
  const names = new Set<string>();
  const seen = new Set<Node>();
  const visit = (node: Node): void => {
    if (seen.has(node)) return;
    seen.add(node);
    if (node.op === 'input') names.add(node.attributes.name);
    node.inputs.forEach(visit);
  };
  outputs.forEach(visit);
  return Object.fromEntries(Object.entries(feeds).filter(([name]) => names.has(name)));
}

for (const { device, missing } of await devicesUnderTest()) {
  const title = missing === null ? `the device ${device}` : `the device ${device} (skipped: ${missing})`;
  describe.skipIf(missing !== null)(title, () => {
    let engine: Engine;
    beforeAll(() => {
      engine = Engine.start({ device, threads: 2 });
    });
    afterAll(() => engine.close());

    describe.each(Object.keys(operationCases) as OpName[])(
      '%s and its gradients equal the reference',
      (op) => {
        for (const operationCase of operationCases[op]) {
          it(operationCase.name, () => checkCase(engine, op, operationCase));
        }
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
