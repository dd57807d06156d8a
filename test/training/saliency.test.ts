/** Grad-CAM beside TensorFlow's GradientTape, and beside the closed form that a linear head on a pooled map has. */
import { afterEach, describe, expect, it } from 'vitest';
import { fromOnnx } from '../../src/applications/from_onnx.node.ts';
import { float32, tensor } from '../../src/core/tensor.ts';
import * as layers from '../../src/layers/index.ts';
import { model, sequential } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';
import { gradCam, lastFeatureMap } from '../../src/training/saliency.ts';
import { foreignFile } from '../support/foreign.ts';
import { expectNear, goldenJson } from '../support/golden.ts';
import { smallModel, x } from '../support/small_model.ts';

interface Case {
  readonly layer: string;
  readonly class: number | null;
  readonly classes: readonly number[];
  readonly maps: readonly (readonly (readonly number[])[])[];
}

const { cases } = await goldenJson<{ readonly cases: readonly Case[] }>('saliency.json');
const pictures = float32([3, 8, 8, 3], x.data.slice(0, 3 * 8 * 8 * 3));

const open: Model[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

function keep(made: Model): Model {
  open.push(made);
  return made;
}

describe('gradCam', () => {
  it.each(cases)(
    'is that of TensorFlow: $layer, class $class',
    async ({ layer, class: id, classes, maps }) => {
      const made = keep(smallModel());
      const result = await gradCam(made, pictures, { layer, ...(id === null ? {} : { classId: id }) });
      const shape = [3, maps[0]!.length, maps[0]![0]!.length];
      const expected = float32(shape, Float32Array.from(maps.flat(2)));
      expectNear('saliency', layer, result.maps, expected, 1e-5);
      // Class ids one by one say the same.
      const again = await gradCam(made, pictures, { layer, classId: classes });
      expectNear('saliency', layer, again.maps, expected, 1e-5);
    },
  );

  it('looks at the last feature map, with the weights that training has now', async () => {
    const made = keep(smallModel());
    expect((await gradCam(made, pictures)).layer).toBe('relu_b');
    made.compile({ loss: 'categoricalCrossentropy', optimizer: 'sgd' });
    const y = float32([3, 5], Float32Array.of(1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0));
    await made.trainOnBatch(pictures, y);
    const { output } = await gradCam(made, pictures);
    const predicted = [...(await made.predict(pictures)).data];
    expect([...output.data]).toEqual(predicted.map((value) => expect.closeTo(value, 6)));
  });

  it('of a foreign backbone is Σ wₖ Aₖ of the map that it hands over', async () => {
    const backbone = await fromOnnx(foreignFile('plain.onnx'), {
      preprocessing: 'unit',
      inputShape: [20, 20, 3],
    });
    const head = [
      layers.globalAveragePooling2d(),
      layers.dense({ units: 3, activation: 'softmax', name: 'head' }),
    ];
    const made = keep(sequential([layers.input({ shape: [20, 20, 3] }), backbone, ...head]));
    made.initialize(1);
    const images = tensor(
      'uint8',
      [1, 20, 20, 3],
      Uint8Array.from({ length: 1200 }, (_, i) => (i * 37) % 251),
    );
    const alone = keep(model({ inputs: backbone.input, outputs: backbone.result }));
    const features = (await alone.predict(images)).data;
    const [kernel] = made.getLayer('head').variables;
    // dy_c/dA_k = w_kc / (height · width) at every place; the factor goes when the largest becomes 1.
    const sums = Array.from({ length: 100 }, (_, place) => {
      let sum = 0;
      for (let k = 0; k < 8; k++) sum += kernel!.values[k * 3 + 2]! * features[place * 8 + k]!;
      return Math.max(sum, 0);
    });
    const largest = Math.max(...sums);
    expect(largest).toBeGreaterThan(0);
    const { maps } = await gradCam(made, images, { classId: 2 });
    const expected = float32(
      [1, 10, 10],
      Float32Array.from(sums, (sum) => sum / largest),
    );
    expectNear('saliency', 'foreign', maps, expected, 1e-5);
  });

  it('finds nothing to look at in front of a foreign backbone that hands over a vector', async () => {
    const options = { preprocessing: 'torch', inputShape: [20, 20, 3], output: 'embedding' } as const;
    const backbone = await fromOnnx(foreignFile('plain.onnx'), options);
    // The normalised picture is a map, but what follows it has no gradient.
    expect(backbone.layers.length).toBeGreaterThan(2);
    const dense = layers.dense({ units: 3, activation: 'softmax' });
    const made = keep(sequential([layers.input({ shape: [20, 20, 3] }), backbone, dense]));
    made.initialize(1);
    expect(lastFeatureMap(made)).toBeNull();
    const images = tensor('uint8', [1, 20, 20, 3], new Uint8Array(1200));
    await expect(gradCam(made, images)).rejects.toThrow('use a tensor before its pooling: --backbone-output');
  });

  it('says what it cannot explain', async () => {
    const made = keep(smallModel());
    const failing = (options: object, of = pictures) => expect(gradCam(made, of, options)).rejects;
    await failing({ layer: 'dense_a' }).toThrow('dense_a puts out no feature map');
    await failing({ classId: 5 }).toThrow('There is no class 5: model small has the classes 0 … 4.');
    await failing({ classId: [0] }).toThrow('got 3 pictures, but 1 classes');
    await failing({}, float32([1, 8, 4, 3], new Float32Array(96))).toThrow('(8, 8, 3), got (8, 4, 3)');
  });
});
