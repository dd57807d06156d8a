/** Flatten, Reshape, ZeroPadding2D and UpSampling2D, as keras.layers: they move data only. */
import { fail } from '../core/errors.ts';
import { sizeOf } from '../core/tensor.ts';
import { describeShape } from '../graph/dimensions.ts';
import type { Node, Pair } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { ConfiguredLayer, Layer, type LayerOptions } from './layer.ts';
import { type PairOption, pair } from './windows.ts';

/** (batch, a, b, ...) to (batch, a·b·...) (keras.layers.Flatten). */
export class Flatten extends Layer {
  constructor(options: LayerOptions = {}) {
    super('Flatten', options);
  }

  override config() {
    return { data_format: 'channels_last' };
  }

  override call([x]: readonly Node[]): Node {
    return o.reshape(x!, [-1, sizeOf(x!.shape.slice(1))]);
  }
}

export interface ReshapeOptions extends LayerOptions {
  /** Without the batch; one dimension may be −1 and is inferred. */
  readonly targetShape: readonly number[];
}

/** keras.layers.Reshape */
export class Reshape extends ConfiguredLayer<{ readonly targetShape: readonly number[] }> {
  constructor(options: ReshapeOptions) {
    super('Reshape', { targetShape: options.targetShape }, options);
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
    return o.reshape(x!, [-1, ...shape]);
  }
}

export interface ZeroPadding2DOptions extends LayerOptions {
  /** One number, [height, width], or [[top, bottom], [left, right]]. Defaults to 1. */
  readonly padding?:
    | number
    | readonly [number, number]
    | readonly [readonly [number, number], readonly [number, number]];
}

type Sides = readonly [readonly [number, number], readonly [number, number]];

/** keras.layers.ZeroPadding2D */
export class ZeroPadding2D extends ConfiguredLayer<{ readonly padding: Sides }> {
  constructor(options: ZeroPadding2DOptions = {}) {
    const given = options.padding ?? 1;
    const [vertical, horizontal] = typeof given === 'number' ? [given, given] : given;
    const sides = (amount: number | readonly [number, number]) =>
      typeof amount === 'number' ? ([amount, amount] as const) : amount;
    super('ZeroPadding2D', { padding: [sides(vertical), sides(horizontal)] }, options);
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

interface UpSampling2DConfig {
  readonly size: Pair;
  readonly interpolation: 'nearest' | 'bilinear';
}

/** Enlarges by whole factors (keras.layers.UpSampling2D). */
export class UpSampling2D extends ConfiguredLayer<UpSampling2DConfig> {
  constructor(options: UpSampling2DOptions = {}) {
    const interpolation = options.interpolation ?? 'nearest';
    super('UpSampling2D', { size: pair('size', options.size ?? 2), interpolation }, options);
    checkInterpolation(this.name, interpolation);
  }

  override config() {
    return { ...super.config(), data_format: 'channels_last' };
  }

  override call([x]: readonly Node[]): Node {
    const { size, interpolation } = this.options;
    return o.resize(x!, [x!.shape[1]! * size[0], x!.shape[2]! * size[1]], interpolation);
  }
}

/** Throws `unsupported` unless the interpolation is one that Graft has. */
export function checkInterpolation(layer: string, interpolation: string): void {
  if (interpolation !== 'nearest' && interpolation !== 'bilinear') {
    fail(
      'unsupported',
      `${layer}: Graft interpolates "nearest" and "bilinear", got ${JSON.stringify(interpolation)}.`,
    );
  }
}
