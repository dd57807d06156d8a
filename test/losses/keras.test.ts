/** Losses and metrics beside Keras's: values, gradients, and totals over two updates. */
import { describe, expect, it } from 'vitest';
import type { Tensor } from '../../src/core/tensor.ts';
import { differentiate } from '../../src/graph/autodiff.ts';
import type { Node } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { evaluate, toValue } from '../../src/graph/reference.ts';
import { flatten, reshape } from '../../src/layers/index.ts';
import type { CallContext } from '../../src/layers/layer.ts';
import {
  categoricalCrossentropy,
  loss,
  lossFromKeras,
  sparseCategoricalCrossentropy,
} from '../../src/losses/index.ts';
import { accuracy, type MetricName, metric, topKCategoricalAccuracy } from '../../src/metrics/index.ts';
import { Totals } from '../../src/training/totals.ts';
import { expectNear, expectNumbers, readGolden } from '../support/golden.ts';

interface LossCase {
  readonly name: string;
  readonly loss: string;
  readonly config: Record<string, unknown>;
  readonly targets: string;
  readonly predictions: string;
  readonly sample_weight: string | null;
  readonly value: number;
}

interface MetricCase {
  readonly name: string;
  readonly metric: string;
  readonly config: { readonly name: string };
  readonly targets: string;
  readonly weighted: boolean;
  readonly results: readonly number[];
}

const golden = await readGolden<{ losses: readonly LossCase[]; metrics: readonly MetricCase[] }>('losses');

const inputFor = (name: string, { dtype, shape }: Tensor) =>
  o.input(name, [-1, ...shape.slice(1)], dtype as 'int32' | 'float32');

describe('a loss read from its Keras config', () => {
  it.each(golden.json.losses.map((each) => [each.name, each] as const))(
    '%s: value and gradient equal Keras',
    (name, each) => {
      const read = lossFromKeras({ class_name: each.loss, config: each.config });
      expect(read.keras).toEqual({ class_name: each.loss, config: each.config });
      const targets = golden.tensor(each.targets);
      const predictions = golden.tensor(each.predictions);
      const prediction = inputFor('prediction', predictions);
      const perSample = read.perSample(prediction, inputFor('labels', targets));
      expect(perSample.shape).toEqual([-1]);
      const weighted = each.sample_weight ? o.mul(perSample, o.input('weights', [-1])) : perSample;
      const value = o.mean(weighted);
      const [gradient] = differentiate(value, [prediction]);
      const [gotValue, gotGradient] = evaluate([value, gradient!], {
        prediction: toValue(predictions),
        labels: toValue(targets),
        ...(each.sample_weight ? { weights: toValue(golden.tensor(each.sample_weight)) } : {}),
      });
      // Keras clips and normalizes in float32: 1 − 1e-7 is not the same number there.
      const tolerance = name.includes('saturated') ? 2e-6 : 1e-6;
      const size = Math.max(1, each.value);
      expectNumbers('losses, value', name, [gotValue!.data[0]! / size], [each.value / size], tolerance);
      expectNear('losses, gradient', name, gotGradient!, golden.tensor(`${name}/gradient`), tolerance);
    },
  );

  it('softmax in front of the loss is undone: a probability that underflows still has a loss and a gradient', () => {
    const logits = o.input('logits', [-1, 2]);
    const labels = o.input('labels', [-1], 'int32');
    const value = o.mean(categoricalCrossentropy().perSample(o.softmax(logits), labels));
    const [gradient] = differentiate(value, [logits]);
    const results = evaluate([value, gradient!], {
      logits: { shape: [1, 2], data: Float64Array.of(0, 2000) },
      labels: { shape: [1], data: Float64Array.of(0) },
    });
    expect(results[0]!.data[0]).toBe(2000);
    expect([...results[1]!.data]).toEqual([-1, 1]);
  });

  it('behind a sigmoid is a softmax of what the sigmoid is given, as in Keras, and behind a Reshape neither is undone', () => {
    const given = o.input('given', [-1, 2]);
    const labels = o.input('labels', [-1], 'int32');
    const lossOf = (prediction: Node, fromLogits: boolean) => {
      const [value] = evaluate(
        [o.sum(sparseCategoricalCrossentropy({ fromLogits }).perSample(prediction, labels))],
        {
          given: { shape: [1, 2], data: Float64Array.of(1, 3) },
          labels: { shape: [1], data: Float64Array.of(0) },
        },
      );
      return value!.data[0]!;
    };
    // log(e^1 + e^3) − 1
    const undone = Math.log(Math.exp(1) + Math.exp(3)) - 1;
    expect(lossOf(o.sigmoid(given), false)).toBeCloseTo(undone, 6);
    expect(lossOf(o.sigmoid(given), true)).toBeCloseTo(undone, 6);
    expect(lossOf(o.softmax(given), true)).toBeCloseTo(undone, 6);
    // p = softmax(1, 3) = (0.1192, 0.8808), taken for logits: log(e^p0 + e^p1) − p0
    const p = 1 / (1 + Math.exp(2));
    const twice = Math.log(Math.exp(p) + Math.exp(1 - p)) - p;
    for (const layer of [flatten(), reshape({ targetShape: [2] })]) {
      expect(lossOf(layer.call([o.softmax(given)], {} as CallContext), true)).toBeCloseTo(twice, 6);
    }
  });

  it('stands in a list where a model has several outputs', () => {
    expect(lossFromKeras(['sparse_categorical_crossentropy']).name).toBe('sparse_categorical_crossentropy');
    expect(() => lossFromKeras(['mse', 'mse'])).toThrow('Expected a loss as Keras writes it');
  });

  it('names of either spelling are known; others are refused with the known ones', () => {
    expect(loss('sparseCategoricalCrossentropy').name).toBe('sparse_categorical_crossentropy');
    expect(loss('categorical_crossentropy').name).toBe('categorical_crossentropy');
    expect(() => loss('mse' as 'categoricalCrossentropy')).toThrow(
      'losses.loss: expected one of "categoricalCrossentropy", "sparseCategoricalCrossentropy"',
    );
    expect(() => lossFromKeras('mse')).toThrow('Unknown loss "mse"; expected categoricalCrossentropy or');
    expect(() => lossFromKeras({ class_name: 'MeanSquaredError', config: {} })).toThrow('MeanSquaredError');
    const ignoring = { class_name: 'SparseCategoricalCrossentropy', config: { ignore_class: 255 } };
    expect(() => lossFromKeras(ignoring)).toThrow('Graft does not have ignore_class = 255');
    const summed = { class_name: 'CategoricalCrossentropy', config: { reduction: 'sum' } };
    expect(() => lossFromKeras(summed)).toThrow('Graft does not have reduction = "sum"');
    expect(() => categoricalCrossentropy({ labelSmoothing: 2 })).toThrow(
      'labelSmoothing must be a number from 0 to 1, got 2',
    );
  });

  it('one-hot rows under the sparse loss are refused, and rows of another width', () => {
    const prediction = o.input('prediction', [-1, 3]);
    const rows = o.input('labels', [-1, 4]);
    expect(() => loss('sparse_categorical_crossentropy').perSample(prediction, rows)).toThrow(
      'takes class ids; for one-hot rows use categorical_crossentropy',
    );
    expect(() => loss('categorical_crossentropy').perSample(prediction, rows)).toThrow(
      'predicts 3 classes, but the labels have 4 columns',
    );
  });
});

describe('a metric over two batches', () => {
  it.each(golden.json.metrics.filter(({ weighted }) => !weighted).map((each) => [each.name, each] as const))(
    '%s equals Keras after each update',
    (name, each) => {
      const ours = metric(each.config.name as MetricName);
      const totals = new Totals([ours.name]);
      const results = [0, 1].map((batch) => {
        const labels = golden.tensor(`metrics/${batch}/${each.targets}`);
        const predictions = golden.tensor(`metrics/${batch}/predictions`);
        const total = o.sum(ours.perSample(inputFor('prediction', predictions), inputFor('labels', labels)));
        const [sum] = evaluate([total], { prediction: toValue(predictions), labels: toValue(labels) });
        totals.add({ loss: 0, [ours.name]: sum!.data[0]! }, labels.shape[0]!);
        return totals.logs()[ours.name]!;
      });
      expectNumbers('metrics', name, results, each.results, 1e-7);
    },
  );

  it('a tie counts for top-k accuracy; k must be a positive integer', () => {
    const prediction = o.input('prediction', [-1, 3]);
    const labels = o.input('labels', [-1], 'int32');
    const top1 = topKCategoricalAccuracy({ k: 1 }).perSample(prediction, labels);
    const feeds = {
      prediction: { shape: [2, 3], data: Float64Array.of(0.4, 0.4, 0.2, 0.5, 0.3, 0.2) },
      labels: { shape: [2], data: Float64Array.of(1, 1) },
    };
    expect([...evaluate([top1], feeds)[0]!.data]).toEqual([1, 0]);
    const first = accuracy().perSample(prediction, labels);
    expect([...evaluate([first], feeds)[0]!.data], 'argmax takes the first').toEqual([0, 0]);
    expect(() => topKCategoricalAccuracy({ k: 0 })).toThrow('k must be a whole number of at least 1, got 0');
    expect(() => metric('precision' as MetricName)).toThrow('metrics.metric: expected one of "accuracy"');
  });
});
