/** Which parts of a picture speak for a class: Grad-CAM of any layer that puts out a feature map. */
import * as v from 'valibot';
import { featureMapLayers, gradCamGraph } from '../compile/saliency.ts';
import { checked, type Entries, fields, oneOf, optional, text, wholeNumber } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { float32, formatShape, sameShape, sizeOf, type Tensor, tensor, tensorOf } from '../core/tensor.ts';
import type { Layer } from '../layers/layer.ts';
import { someOf } from '../models/network.ts';
import { type Device, devices, Engine, type Session } from '../runtime/engine.node.ts';
import { Model } from './model.ts';

/** Options of `gradCam`. */
export interface GradCamOptions {
  /** The class that is explained, for all pictures or one for each. Defaults to the most probable one of each. */
  readonly classId?: number | readonly number[];
  /** The name of a layer that puts out (height, width, channels). Defaults to the last one. */
  readonly layer?: string;
  /** Where to run. Defaults to `cpu`. */
  readonly device?: Device;
  /** Threads of an operation. Defaults to the cores of the machine. */
  readonly threads?: number;
}

const gradCamOptions = fields({
  classId: optional(v.union([wholeNumber(0), v.array(wholeNumber(0), 'an array of class ids')])),
  layer: optional(text),
  device: optional(oneOf(...devices), 'cpu'),
  threads: optional(wholeNumber(1)),
} satisfies Entries<GradCamOptions>);

/** What `gradCam` finds. */
export interface GradCam {
  /** The layer that was looked at. */
  readonly layer: string;
  /** (n, height, width) of its feature map; of each picture the largest value is 1, or all are 0. */
  readonly maps: Tensor<'float32'>;
  /** What the model predicts, (n, classes). */
  readonly output: Tensor<'float32'>;
}

/** The last layer of a model that puts out a feature map which Grad-CAM can look at, or null if there is none. */
export function lastFeatureMap(model: Model): string | null {
  return featureMapLayers(model).at(-1)?.name ?? null;
}

/**
 * Grad-CAM (Selvaraju et al. 2017): the channels of a feature map, weighted by the mean of their gradient with respect
 * to the logit of a class; what is negative is left out. The gradient needs the layers behind the map only, so a
 * foreign ONNX backbone is explained on the map that it hands over.
 *
 * @param images (n, height, width, channels) as `predict` takes them
 * @throws `argument` for a layer that puts out no map or lies before a foreign model, and for a class that the model
 * does not have; `shape` for pictures of another size; `state` if weights have no values
 */
export async function gradCam(
  model: Model,
  images: Tensor<'uint8' | 'float32'>,
  options: GradCamOptions = {},
): Promise<GradCam> {
  checked(v.instance(Model, 'a model'), model, 'gradCam(model)');
  checked(tensorOf('uint8', 'float32'), images, 'gradCam(images)');
  const { classId, layer: name, device, threads } = checked(gradCamOptions, options, 'gradCam');
  const [count, ...shape] = images.shape as [number, ...number[]];
  if (!sameShape(shape, model.input.shape)) {
    fail(
      'shape',
      `Model ${model.name} takes pictures of shape ${formatShape(model.input.shape)}, got ${formatShape(shape)}.`,
    );
  }
  const layer = layerOf(model, name);
  const classes = classId === undefined ? null : classesOf(model, classId, count);
  // Training may have left newer ones in the engine.
  await model.currentWeights();
  const graph = gradCamGraph(model, layer, classes === null ? 'predicted' : 'given', images.dtype);
  const engine = Engine.start({ device, ...(threads === undefined ? {} : { threads }) });
  try {
    const results = await inBatches(await engine.load(graph), images, classes);
    return { layer: layer.name, ...results };
  } finally {
    await engine.close();
  }
}

function layerOf(model: Model, name: string | undefined): Layer {
  const known = featureMapLayers(model);
  const last = known.at(-1);
  if (last === undefined) {
    return fail(
      'argument',
      `Model ${model.name} has no layer that puts out a feature map (height, width, channels), which Grad-CAM needs. ` +
        'Of a foreign backbone, use a tensor before its pooling: --backbone-output.',
    );
  }
  if (name === undefined) return last;
  const layer = model.getLayer(name);
  if (known.includes(layer)) return layer;
  const near = known.slice(-6).map((other) => other.name);
  return fail(
    'argument',
    `Layer ${name} puts out no feature map (height, width, channels) that has a gradient; the last that do: ` +
      `${near.join(', ')}.`,
  );
}

function classesOf(model: Model, classId: number | readonly number[], count: number): Int32Array {
  const ids = typeof classId === 'number' ? new Array<number>(count).fill(classId) : classId;
  if (ids.length !== count) {
    fail('argument', `gradCam got ${count} pictures, but ${ids.length} classes in classId.`);
  }
  const classes = model.result.shape[0]!;
  const wrong = ids.filter((id) => !(Number.isInteger(id) && id >= 0 && id < classes));
  if (wrong.length > 0) {
    fail(
      'argument',
      `There is no class ${someOf([...new Set(wrong)].map(String))}: model ${model.name} has the classes 0 … ${classes - 1}.`,
    );
  }
  return Int32Array.from(ids);
}

/** Few enough that the feature maps of a whole network and their gradients fit into memory. */
const batchSize = 8;

async function inBatches(session: Session, images: Tensor, classes: Int32Array | null) {
  const [count, ...shape] = images.shape as [number, ...number[]];
  const maps: Float32Array[] = [];
  const outputs: Float32Array[] = [];
  let mapShape: readonly number[] = [];
  const size = sizeOf(shape);
  for (let start = 0; start < count; start += batchSize) {
    const end = Math.min(start + batchSize, count);
    const image = tensor(images.dtype, [end - start, ...shape], images.data.slice(start * size, end * size));
    const ids = classes?.slice(start, end);
    const { map, output } = await session.run({
      image,
      ...(ids === undefined ? {} : { class: tensor('int32', [ids.length], ids) }),
    });
    mapShape = map!.shape.slice(1);
    maps.push(scaled(map!.data as Float32Array, sizeOf(mapShape)));
    outputs.push(output!.data as Float32Array);
  }
  const classCount = outputs.reduce((sum, { length }) => sum + length, 0) / count;
  return {
    maps: float32([count, ...mapShape], joined(maps)),
    output: float32([count, classCount], joined(outputs)),
  };
}

/** Divides each map by its largest value. */
function scaled(values: Float32Array, size: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += size) {
    const map = values.subarray(start, start + size);
    const largest = map.reduce((most, value) => Math.max(most, value), 0);
    if (largest > 0)
      result.set(
        map.map((value) => value / largest),
        start,
      );
  }
  return result;
}

function joined(parts: readonly Float32Array[]): Float32Array {
  return Float32Array.from(parts.flatMap((part) => [...part]));
}
