/** Shows what layers make of pictures in a training step: to look at an augmentation before training with it. */
import * as v from 'valibot';
import { previewGraph } from '../compile/preview.ts';
import { checked, type Entries, fields, optional, seed as seedSchema, wholeNumber } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { type Tensor, tensor, tensorOf } from '../core/tensor.ts';
import { input } from '../layers/input.ts';
import { type Layer, layerSchema } from '../layers/layer.ts';
import { Engine } from '../runtime/engine.node.ts';
import { sequential } from './build.ts';
import { stepNoise } from './feeds.ts';

/** Options of `preview`. */
export interface PreviewOptions {
  /** Decides what is drawn. Defaults to 0. */
  readonly seed?: number;
  /** The step whose draws are shown. Defaults to 0, the first. */
  readonly step?: number;
}

const previewOptions = fields({
  seed: optional(seedSchema, 0),
  step: optional(wholeNumber(0), 0),
} satisfies Entries<PreviewOptions>);

const layersSchema = v.array(layerSchema, 'an array of layers');

/**
 * Pictures (n, height, width, channels) as layers without weights change them in a training step on this batch; values
 * are rounded and kept within 0 … 255. Throws `argument` for layers with weights.
 */
export async function preview(
  layers: readonly Layer[],
  images: Tensor<'uint8'>,
  options: PreviewOptions = {},
): Promise<Tensor<'uint8'>> {
  checked(layersSchema, layers, 'preview(layers)');
  checked(tensorOf('uint8'), images, 'preview(images)');
  const { seed, step } = checked(previewOptions, options, 'preview');
  return (await previewSteps(layers, images, { seed, steps: [step] }))[0]!;
}

/** The same in several steps. */
export async function previewSteps(
  layers: readonly Layer[],
  images: Tensor<'uint8'>,
  { seed, steps }: { readonly seed: number; readonly steps: readonly number[] },
): Promise<Tensor<'uint8'>[]> {
  const [batch, ...shape] = images.shape as [number, ...number[]];
  const model = sequential([input({ shape }), ...layers]);
  const [weight] = model.variables;
  if (weight !== undefined) {
    fail('argument', `A preview shows layers without weights, but ${weight.layer.name} has ${weight.path}.`);
  }
  const { model: graph, noises } = previewGraph(model);
  const engine = Engine.start({});
  try {
    const session = await engine.load(graph);
    const shown: Tensor<'uint8'>[] = [];
    for (const step of steps) {
      const { pictures } = await session.run({ image: images, ...stepNoise(noises, seed, step, batch) });
      shown.push(tensor('uint8', pictures!.shape, bytes(pictures!.data as Float32Array)));
    }
    return shown;
  } finally {
    await engine.close();
  }
}

function bytes(values: Float32Array): Uint8Array {
  // Rounds, and keeps what is beyond the range at its ends.
  return Uint8Array.from(Uint8ClampedArray.from(values));
}
