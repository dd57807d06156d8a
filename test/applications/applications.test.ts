/** Every application beside Keras's: layers, weights and their order, features, work, and what its record says. */
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import * as applications from '../../src/applications/index.ts';
import { loadWeights } from '../../src/applications/pretrained.node.ts';
import { readJson } from '../../src/core/files.node.ts';
import { float32, type Tensor, tensor } from '../../src/core/tensor.ts';
import * as layers from '../../src/layers/index.ts';
import type { Layer } from '../../src/layers/layer.ts';
import { multiplyAdds } from '../../src/models/multiply_adds.ts';
import type { Network } from '../../src/models/network.ts';
import { sequential } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';
import { expectNear, readGolden } from '../support/golden.ts';
import { fillByRule, hashed } from '../support/rule_weights.ts';

/** [name, class, output shape without the batch, weights in order: [name, dimensions...]] */
type LayerLine = readonly [string, string, readonly number[], readonly (readonly (string | number)[])[]];

interface ApplicationsGolden {
  readonly applications: Readonly<
    Record<
      string,
      {
        readonly name: string;
        readonly size: readonly [number, number];
        readonly layers: readonly LayerLine[];
        readonly top: { readonly parameters: number; readonly layers: readonly LayerLine[] };
      }
    >
  >;
}

const golden = await readGolden<ApplicationsGolden>('applications');
const period = 65521;
/** Those that Keras has; cifar_resnet.test.ts is about the other. */
const each = applications.all
  .filter(({ record }) => record.trainedOn.name === 'imagenet')
  .map((application) => [application.record.name, application] as const);

const open: Model[] = [];
afterEach(async () => {
  for (const made of open.splice(0)) await made.close();
});

function lineOf(layer: Layer): LayerLine {
  const weights = layer.variables.map(({ name, shape }) => [name, ...shape]);
  return [layer.name, layer.className, layer.output.shape, weights];
}

/** ConvNeXt adds with `+` in Keras, which makes no layer; and Keras counts the names of its factors on. */
function linesOf(network: Network, skipAdds: boolean): LayerLine[] {
  return network.layers.filter(({ className }) => !(skipAdds && className === 'Add')).map(lineOf);
}

function asGraftNames(lines: readonly LayerLine[]): LayerLine[] {
  return lines.map(([name, className, shape, weights]) => [
    name,
    className,
    shape,
    weights.map(([weight, ...dims]) => [String(weight).replace(/^variable_\d+$/, 'variable'), ...dims]),
  ]);
}

/** The two pictures of the golden's rule. */
function pictures(height: number, width: number): Tensor<'uint8'> {
  const images = tensor('uint8', [2, height, width, 3]);
  const u = hashed(9999, 20 * 20 * 3);
  const size = height * width * 3;
  for (let i = 0; i < size; i++) {
    const [y, x, c] = [Math.floor(i / (3 * width)), Math.floor(i / 3) % width, i % 3];
    images.data[i] = Math.floor(128 * (1 + u[(Math.floor(y / 8) * 20 + Math.floor(x / 8)) * 3 + c]!));
    images.data[size + i] = (y * (c + 1) + x * (3 - c)) % 256;
  }
  return images;
}

describe('the layers of an application', () => {
  it('every application has its golden', () => {
    expect(each.map(([name]) => name)).toEqual(Object.keys(golden.json.applications));
  });

  it.each(each)('%s: names, classes, order, shapes and weights are those of Keras', (name, application) => {
    const { size, layers: lines, top, name: modelName } = golden.json.applications[name]!;
    const isConvNext = name === 'convnext_tiny';
    const base = application.structure({ weights: null, includeTop: false, inputShape: [...size, 3] });
    expect(base.name).toBe(modelName);
    expect(linesOf(base, isConvNext)).toEqual(asGraftNames(lines));

    const whole = application.structure({ weights: null });
    expect(whole.countParams()).toBe(top.parameters);
    expect(application.record.parameters).toBe(top.parameters);
    expect(linesOf(whole, isConvNext).slice(lines.length - 1)).toEqual(asGraftNames(top.layers));
  });

  it.each(each)(
    '%s: its record names a layer to unfreeze from, and pooling and classes can be chosen',
    (_, make) => {
      const { record } = make;
      expect(make.structure({ weights: null, includeTop: false }).getLayer(record.lastStage)).toBeDefined();
      const side = record.minimumSize;
      const inputShape = [side, side, 3] as const;
      const options = { weights: null, includeTop: false, inputShape };
      const average = make.structure({ ...options, pooling: 'avg' });
      const most = make.structure({ ...options, pooling: 'max' });
      const pools = [average, most].map(
        ({ layers: all }) => all.find(({ className }) => /^Global/.test(className)) !== undefined,
      );
      expect(pools).toEqual([true, true]);
      expect(average.result.shape).toEqual([make.structure(options).result.shape[2]]);
      expect(make.structure({ weights: null, inputShape, classes: 7 }).result.shape).toEqual([7]);
      expect(() => make.structure({ weights: null, inputShape: [side - 1, side, 3] })).toThrow(
        `${record.name} takes pictures of at least (${side}, ${side}, 3), got (${side - 1}, ${side}, 3).`,
      );
    },
  );

  it('EfficientNet with the published weights scales once more, as in Keras; MobileNetV2 has widths', () => {
    const published = applications.efficientnetB0.structure({ weights: 'imagenet', includeTop: false });
    expect(published.layers.slice(1, 4).map(({ name }) => name)).toEqual([
      'rescaling',
      'normalization',
      'rescaling_1',
    ]);
    expect(published.getLayer('rescaling_1').config()['scale']).toEqual(
      [0.229, 0.224, 0.225].map((value) => 1 / Math.sqrt(value)),
    );
    // Parameters that Keras reports for other widths, with the classifier.
    const parametersAt = (alpha: number) =>
      applications.mobilenetV2.structure({ weights: null, alpha }).countParams();
    expect([0.35, 0.5, 0.75, 1.3, 1.4].map(parametersAt)).toEqual([
      1_691_208, 1_987_224, 2_663_064, 5_431_048, 6_156_712,
    ]);
    const small = applications.mobilenetV2.structure({
      weights: 'imagenet',
      alpha: 0.5,
      inputShape: [96, 96, 3],
      includeTop: false,
    });
    expect(small.name).toBe('mobilenetv2_0.50_96');
    expect(() => applications.mobilenetV2.structure({ alpha: 0.6, includeTop: false })).toThrow(
      'MobileNetV2 has ImageNet weights for alpha 0.35, 0.5, 0.75, 1, 1.3, 1.4, got 0.6',
    );
  });
});

describe('the work of an application', () => {
  // Multiply-adds in billions, as published, and where.
  const published: Record<string, readonly [number, string]> = {
    vgg16: [15.5, 'Canziani et al. 2016'],
    vgg19: [19.6, 'He et al. 2015, section 3.3'],
    resnet50: [3.8, 'He et al. 2015, table 1'],
    resnet101: [7.6, 'He et al. 2015, table 1'],
    resnet152: [11.3, 'He et al. 2015, table 1'],
    inception_v3: [5.72, 'Tan & Le 2019, table 2: 5.7'],
    densenet121: [2.83, 'Huang et al. 2016: 5.7 billion operations'],
    densenet169: [3.4, 'Tan & Le 2019, table 2: 3.5'],
    densenet201: [4.3, 'Huang et al. 2016'],
    mobilenet_v2: [0.3, 'Sandler et al. 2018, table 4'],
    xception: [8.4, 'Tan & Le 2019, table 2'],
    efficientnetb0: [0.39, 'Tan & Le 2019, table 2'],
    convnext_tiny: [4.5, 'Liu et al. 2022, table 1'],
  };

  it.each(Object.entries(published))('%s counts what is published', (name, [billions]) => {
    const [, application] = each.find(([other]) => other === name)!;
    const counted = multiplyAdds(application.structure({ weights: null })) / 1e9;
    expect(Math.abs(counted / billions - 1)).toBeLessThan(0.02);
  });

  it('is exact for a layer counted by hand', () => {
    const small = sequential([
      layers.input({ shape: [6, 5, 4] }),
      layers.conv2d({ filters: 3, kernelSize: 3 }), // (4, 3, 3) values of 3·3·4 products
      layers.depthwiseConv2d({ kernelSize: 2 }), // (3, 2, 3) values of 2·2 products
      layers.flatten(),
      layers.dense({ units: 7 }), // 18 · 7
    ]);
    expect(multiplyAdds(small)).toBe(4 * 3 * 3 * 36 + 3 * 2 * 3 * 4 + 18 * 7);
  });
});

describe('features with the weights of the rule', () => {
  it.each(each)('%s: equal Keras, preprocessing included', async (name, application) => {
    const { record, structure } = application;
    const [height, width] = golden.json.applications[name]!.size;
    const images = pictures(height, width);
    const base = structure({ weights: null, includeTop: false, inputShape: [height, width, 3] });
    const firstScale = record.preprocessing === 'caffe' ? 1 / 64 : 1;
    fillByRule(base, { period, firstScale, gain: name === 'efficientnetb0' ? 1.2 : 1 });
    base.freeze();
    const made = sequential([
      layers.input({ shape: [height, width, 3] }),
      ...(record.preprocessing === null ? [] : [applications.preprocessing(record.preprocessing)]),
      base,
      layers.globalAveragePooling2d(),
    ]);
    open.push(made);
    const features = await made.predict(images);
    expectNear('applications, features', name, features, golden.tensor(`${name}/features`), 1e-4);
  });
});

describe('preprocessing as a function', () => {
  const modes = each.filter(([, { record }]) => record.preprocessing !== null);
  it.each(modes)('does to the pictures of %s what Keras does', (name, { record }) => {
    const [height, width] = golden.json.applications[name]!.size;
    const images = pictures(height, width);
    const prepared = applications.preprocessInput(images, record.preprocessing!);
    expect(prepared.shape).toEqual([2, height, width, 3]);
    const corner = [0, 1].flatMap((picture) =>
      [0, 1].flatMap((row) => {
        const start = (picture * height + row) * width * 3;
        return [...prepared.data.subarray(start, start + 6)];
      }),
    );
    const wanted = golden.tensor(`${name}/preprocessed_corner`);
    expectNear('preprocessInput', name, { shape: wanted.shape, data: corner }, wanted, 1e-6);
  });

  it('takes RGB only', () => {
    expect(() => applications.preprocessInput(float32([1, 2], [1, 2]), 'tf')).toThrow('RGB pictures');
  });
});

describe('the classes of ImageNet', () => {
  it("are Keras's, byte for byte", () => {
    const index = applications.imagenetClasses.map(({ id, name }, i) => `"${i}": ["${id}", "${name}"]`);
    // The checksum of imagenet_class_index.json in keras.applications.imagenet_utils.
    const md5 = createHash('md5')
      .update(`{${index.join(', ')}}`)
      .digest('hex');
    expect(md5).toBe('c2c37ea517e94d9795004a39431a14cb');
  });

  it('name the best guesses of each picture, best first', () => {
    const scores = new Float32Array(2000);
    scores.set([0.5, 0.25], 0);
    scores[207] = 0.125;
    scores[1999] = 1;
    const decoded = applications.decodePredictions(float32([2, 1000], scores), { top: 3 });
    expect(decoded[0]).toEqual([
      { id: 'n01440764', name: 'tench', score: 0.5 },
      { id: 'n01443537', name: 'goldfish', score: 0.25 },
      { id: 'n02099601', name: 'golden_retriever', score: 0.125 },
    ]);
    expect(decoded[1]![0]).toEqual({ id: 'n15075141', name: 'toilet_tissue', score: 1 });
    expect(() => applications.decodePredictions(float32([1, 10], new Float32Array(10)))).toThrow(
      'takes predictions (pictures, 1000) of an ImageNet classifier, got (1, 10)',
    );
  });
});

describe('the weights of a larger model', () => {
  const larger = fileURLToPath(new URL('../saving/fixtures/keras3_model.h5', import.meta.url));

  it('go to the one that it has as a layer, by the names that Keras gave them', async () => {
    const backbone = sequential(
      [
        layers.input({ shape: [16, 16, 3] }),
        layers.conv2d({ filters: 4, kernelSize: 3, name: 'conv1_conv' }),
        layers.batchNormalization({ name: 'conv1_bn' }),
        layers.conv2d({ filters: 4, kernelSize: 1, name: 'conv2_conv' }),
        layers.batchNormalization({ name: 'conv2_bn' }),
      ],
      { name: 'backbone' },
    );
    open.push(backbone);
    await loadWeights(backbone, larger);
    const sizes = backbone.variables.map(({ path, values }) => [
      path,
      values.reduce((total, value) => total + Math.abs(value), 0),
    ]);
    // What Keras says in keras3_model.json.
    const { weights } = (await readJson(larger.replace(/h5$/, 'json'))) as {
      readonly weights: readonly { readonly name: string; readonly abs: number }[];
    };
    for (const [path, size] of sizes) {
      expect(size, path as string).toBeCloseTo(weights.find(({ name }) => name === path)!.abs, 4);
    }
    expect(sizes).toHaveLength(12);
  });

  it('are refused where it has no such layer', async () => {
    const other = applications.cifarResnet({ weights: null });
    open.push(await other);
    await expect(loadWeights(await other, larger)).rejects.toThrow(
      'holds no weights of the layers of cifar_resnet',
    );
  });
});
