/** Flatten, Reshape, ZeroPadding2D and UpSampling2D, as keras.layers: they move data only. */
import * as v from 'valibot';
import { checked, type Entries, fields, oneOf, optional, wholeNumber } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { sizeOf } from '../core/tensor.ts';
import { describeShape } from '../graph/dimensions.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { ConfiguredLayer, Layer, type LayerOptions, layerEntries, type OwnOptions } from './layer.ts';
import { type PairOption, pairSchema } from './windows.ts';

const flattenOptions = fields(layerEntries);

/** (batch, a, b, ...) to (batch, a·b·...) (keras.layers.Flatten). */
export class Flatten extends Layer {
  constructor(options: LayerOptions = {}) {
    super('Flatten', checked(flattenOptions, options, 'layers.flatten'));
  }

  override config() {
    return { data_format: 'channels_last' };
  }

  override call([x]: readonly Node[]): Node {
    return o.reshapeApart(x!, [-1, sizeOf(x!.shape.slice(1))]);
  }
}

export interface ReshapeOptions extends LayerOptions {
  /** Without the batch; one dimension may be −1 and is inferred. */
  readonly targetShape: readonly number[];
}

const reshapeOptions = fields({
  ...layerEntries,
  targetShape: v.pipe(
    v.array(
      v.custom<number>(
        (value) => Number.isSafeInteger(value) && ((value as number) > 0 || value === -1),
        'a whole number of at least 1, or -1 for what is left',
      ),
      'an array of sizes, without the batch',
    ),
    v.check((shape) => shape.filter((dim) => dim === -1).length <= 1, 'has more than one -1'),
  ),
} satisfies Entries<ReshapeOptions>);

/** keras.layers.Reshape */
export class Reshape extends ConfiguredLayer<{ readonly targetShape: readonly number[] }> {
  constructor(options: ReshapeOptions) {
    super('Reshape', checked(reshapeOptions, options, 'layers.reshape'));
  }

  override call([x]: readonly Node[]): Node {
    const { targetShape } = this.options;
    const size = sizeOf(x!.shape.slice(1));
    const known = sizeOf(targetShape.filter((dim) => dim !== -1));
    const shape = targetShape.map((dim) => (dim === -1 ? size / known : dim));
    if (sizeOf(shape) !== size || !shape.every(Number.isInteger)) {
      fail(
        'shape',
        `${this.name}: cannot reshape ${describeShape(x!.shape)} to (${targetShape.join(', ')}).`,
      );
    }
    return o.reshapeApart(x!, [-1, ...shape]);
  }
}

export interface ZeroPadding2DOptions extends LayerOptions {
  /** One number, [height, width], or [[top, bottom], [left, right]]. Defaults to 1. */
  readonly padding?:
    | number
    | readonly [number, number]
    | readonly [readonly [number, number], readonly [number, number]];
}

const amount = wholeNumber(0);
const sides = v.union([amount, v.tuple([amount, amount], 'two whole numbers')]);
const both = (given: v.InferOutput<typeof sides>): readonly [number, number] =>
  typeof given === 'number' ? [given, given] : given;

const zeroPadding2dOptions = fields({
  ...layerEntries,
  padding: optional(
    v.pipe(
      v.union([amount, v.tuple([sides, sides], 'two of them for height and width')]),
      v.transform((given): Sides => {
        const [vertical, horizontal] = typeof given === 'number' ? [given, given] : given;
        return [both(vertical), both(horizontal)];
      }),
    ),
    1,
  ),
} satisfies Entries<ZeroPadding2DOptions>);

type Sides = readonly [readonly [number, number], readonly [number, number]];

/** keras.layers.ZeroPadding2D */
export class ZeroPadding2D extends ConfiguredLayer<{ readonly padding: Sides }> {
  constructor(options: ZeroPadding2DOptions = {}) {
    super('ZeroPadding2D', checked(zeroPadding2dOptions, options, 'layers.zeroPadding2d'));
  }

  override config() {
    return { ...super.config(), data_format: 'channels_last' };
  }

  override call([x]: readonly Node[]): Node {
    const [[top, bottom], [left, right]] = this.options.padding;
    return o.pad(x!, [0, top, left, 0], [0, bottom, right, 0]);
  }
}

export interface UpSampling2DOptions extends LayerOptions {
  readonly size?: PairOption;
  readonly interpolation?: 'nearest' | 'bilinear';
}

export const interpolationSchema = oneOf('nearest', 'bilinear');

const upSampling2dOptions = fields({
  ...layerEntries,
  size: optional(pairSchema, 2),
  interpolation: optional(interpolationSchema, 'nearest'),
} satisfies Entries<UpSampling2DOptions>);

/** Enlarges by whole factors (keras.layers.UpSampling2D). */
export class UpSampling2D extends ConfiguredLayer<OwnOptions<typeof upSampling2dOptions>> {
  constructor(options: UpSampling2DOptions = {}) {
    super('UpSampling2D', checked(upSampling2dOptions, options, 'layers.upSampling2d'));
  }

  override config() {
    return { ...super.config(), data_format: 'channels_last' };
  }

  override call([x]: readonly Node[]): Node {
    const { size, interpolation } = this.options;
    return o.resize(x!, [x!.shape[1]! * size[0], x!.shape[2]! * size[1]], interpolation);
  }
}
