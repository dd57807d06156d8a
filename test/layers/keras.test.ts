/** Every layer case of `golden/layers.json` and `golden/application_layers.json`: read from Keras's config, then outputs and gradients beside Keras's. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Tensor } from '../../src/core/tensor.ts';
import { differentiate } from '../../src/graph/autodiff.ts';
import { type GraphDType, type Node, resolveShape, topologicalOrder } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { evaluate, toValue } from '../../src/graph/reference.ts';
import { simplify } from '../../src/graph/simplify.ts';
import { layerFromKeras } from '../../src/layers/index.ts';
import { InputLayer } from '../../src/layers/input.ts';
import { emitModel } from '../../src/onnx/emit.ts';
import { Engine } from '../../src/runtime/engine.node.ts';
import { expectNear, readGolden } from '../support/golden.ts';

interface Case {
  readonly name: string;
  readonly layer: string;
  readonly training: boolean;
  readonly config: Record<string, unknown>;
  readonly inputs: readonly { readonly shape: readonly number[]; readonly dtype: string }[];
  readonly weights: readonly {
    readonly name: string;
    readonly shape: readonly number[];
    readonly trainable: boolean;
  }[];
  readonly outputs: readonly { readonly dtype: string }[];
  readonly gradients: boolean;
  readonly updated: readonly string[];
}

const goldens = await Promise.all(
  ['layers', 'application_layers'].map((stem) => readGolden<{ cases: readonly Case[] }>(stem)),
);
const allCases = goldens.flatMap(({ json }) => json.cases);
const refused = new Set(['normalization_inverted']);
const cases = allCases.filter(({ name }) => !refused.has(name));

/** An array of whichever golden file has it. */
function goldenTensor(name: string): Tensor {
  return (goldens.find((golden) => golden.has(name)) ?? goldens[0]!).tensor(name);
}

/** The graph of a case: what it gives, by the name of the golden array that it must equal. */
function buildCase({ name, layer: className, config, training, inputs, gradients }: Case) {
  const layer = layerFromKeras(className, config);
  const symbols = inputs.map(
    ({ shape }, i) => new InputLayer({ name: `${name}_${i}`, shape: shape.slice(1) }).output,
  );
  const shape = layer.apply(symbols).shape;
  const fed = inputs.map((input, i) =>
    o.input(`${name}/inputs/${i}`, [-1, ...input.shape.slice(1)], input.dtype as GraphDType),
  );
  const weights = new Map(
    layer.variables.map((variable) => [
      variable,
      o.input(`${name}/weights/${variable.name}`, variable.shape),
    ]),
  );
  const updates: Record<string, Node> = {};
  const y = layer.call(
    fed.map((node) => o.cast(node, 'float32')),
    {
      training,
      weight: (variable) => weights.get(variable)!,
      update: (variable, next) => {
        updates[`${name}/updated/${variable.name}`] = next;
      },
      uniform: () => expect.unreachable('no case draws noise'),
      draw: () => expect.unreachable('no case draws noise'),
      mixLabels: () => expect.unreachable('no case mixes labels'),
    },
  );
  const results: Record<string, Node> = { [`${name}/outputs/0`]: y, ...updates };
  if (gradients) {
    const loss = o.sum(o.mul(y, o.input(`${name}/probe`, y.shape)));
    const trainable = layer.variables.filter((variable) => variable.trainable);
    const targets = [...fed, ...trainable.map((variable) => weights.get(variable)!)];
    differentiate(loss, targets).forEach((gradient, i) => {
      const target = targets[i]!;
      const path = target.op === 'input' ? target.attributes.name.slice(name.length) : '';
      results[`${name}/gradients${path}`] = gradient;
    });
  }
  return { layer, shape, results };
}

function feedsOf(nodes: readonly Node[]): Record<string, Tensor> {
  const names = topologicalOrder(nodes).flatMap((node) =>
    node.op === 'input' ? [node.attributes.name] : [],
  );
  return Object.fromEntries(names.map((name) => [name, goldenTensor(name)]));
}

/** Keras rounds to bytes where bytes came in; Graft goes on with the fractions. */
function compare(group: string, name: string, got: Tensor | ReturnType<typeof toValue>, tolerance: number) {
  const expected = goldenTensor(name);
  if (expected.dtype !== 'uint8') return expectNear(group, name, got, expected, tolerance);
  const bytes = Array.from(got.data as ArrayLike<number>, (value) => Math.round(value));
  expectNear(group, name, { shape: got.shape, data: bytes }, expected, 0);
}

describe('a layer read from its Keras config', () => {
  it.each(cases.map((each) => [each.name, each] as const))('%s: equals Keras in float64', (_, each) => {
    const { layer, shape, results } = buildCase(each);
    expect(layer.name).toBe(each.name);
    expect([each.inputs[0]!.shape[0], ...shape]).toEqual(goldenTensor(`${each.name}/outputs/0`).shape);
    expect(layer.variables.map(({ name, shape, trainable }) => ({ name, shape, trainable }))).toEqual(
      each.weights,
    );
    const expected = goldens
      .flatMap((golden) => golden.under(`${each.name}/`))
      .filter((name) => /^(outputs|gradients|updated)\//.test(name) && !isUnmoved(each, name));
    expect(Object.keys(results).sort()).toEqual(expected.map((name) => `${each.name}/${name}`).sort());

    const nodes = Object.values(results);
    const feeds = Object.fromEntries(
      Object.entries(feedsOf(nodes)).map(([name, value]) => [name, toValue(value)]),
    );
    evaluate(nodes, feeds, each.inputs[0]!.shape[0]).forEach((value, i) => {
      compare('layers, float64', Object.keys(results)[i]!, value, 2e-6);
    });
  });

  it('normalization with invert is refused by its name', () => {
    const inverted = allCases.find(({ name }) => name === 'normalization_inverted')!;
    expect(() => layerFromKeras(inverted.layer, inverted.config)).toThrow(
      'Layer normalization_inverted (Normalization): Graft does not have invert = true.',
    );
  });
});

/** A frozen layer leaves its statistics alone: the golden holds them, but nothing writes them. */
function isUnmoved({ config, updated }: Case, name: string): boolean {
  return config['trainable'] === false && updated.some((weight) => name === `updated/${weight}`);
}

describe('layers in the engine', () => {
  let engine: Engine;
  beforeAll(() => {
    engine = Engine.start({ threads: 1 });
  });
  afterAll(() => engine.close());

  // A model has one batch size, so cases of the same one share a session.
  const sizes = [...new Set(cases.map(({ inputs }) => inputs[0]!.shape[0]!))];
  it.each(sizes)('outputs, gradients and statistics for a batch of %i equal Keras', async (batch) => {
    const results = Object.assign(
      {},
      ...cases.filter(({ inputs }) => inputs[0]!.shape[0] === batch).map((each) => buildCase(each).results),
    ) as Record<string, Node>;
    const names = Object.keys(results);
    const nodes = simplify(Object.values(results));
    const outputs = Object.fromEntries(nodes.map((node, i) => [`y${i}`, node]));
    const session = await engine.load(emitModel(outputs));
    const got = await session.run(feedsOf(nodes));
    names.forEach((name, i) => {
      const value = got[`y${i}`]!;
      expect(value.shape).toEqual(resolveShape(nodes[i]!.shape, batch));
      compare('layers, engine', name, value, 1e-5);
    });
  });
});
