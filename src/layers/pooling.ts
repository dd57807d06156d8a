/** Max, average and global pooling, as keras.layers. */
import * as v from 'valibot';
import { checked, type Entries, fields, flag, optional } from '../core/checked.ts';
import type { Node, Pair } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { ConfiguredLayer, type LayerOptions, layerEntries } from './layer.ts';
import { type Padding, type PairOption, paddingOf, paddingSchema, pairSchema } from './windows.ts';

export interface PoolingOptions extends LayerOptions {
  /** Defaults to 2. */
  readonly poolSize?: PairOption;
  /** Defaults to the pool size. */
  readonly strides?: PairOption | null;
  readonly padding?: Padding;
}

const poolingOptions = fields({
  ...layerEntries,
  poolSize: optional(pairSchema, 2),
  strides: optional(v.nullable(pairSchema), null),
  padding: optional(paddingSchema, 'valid'),
} satisfies Entries<PoolingOptions>);

interface PoolingConfig {
  readonly poolSize: Pair;
  readonly strides: Pair;
  readonly padding: Padding;
}

abstract class Pooling extends ConfiguredLayer<PoolingConfig> {
  constructor(className: string, options: PoolingOptions, where: string) {
    const given = checked(poolingOptions, options, where);
    super(className, { ...given, strides: given.strides ?? given.poolSize });
  }

  override config() {
    return { ...super.config(), data_format: 'channels_last' };
  }

  protected window(x: Node) {
    const { poolSize, strides, padding } = this.options;
    const pads = paddingOf(padding, [x.shape[1]!, x.shape[2]!], poolSize, strides);
    return { size: poolSize, strides, pads, dilations: [1, 1] as const };
  }
}

/** keras.layers.MaxPooling2D */
export class MaxPooling2D extends Pooling {
  constructor(options: PoolingOptions = {}) {
    super('MaxPooling2D', options, 'layers.maxPooling2d');
  }

  override call([x]: readonly Node[]): Node {
    return o.maxPool(x!, this.window(x!));
  }
}

/** keras.layers.AveragePooling2D: padding does not count in the average. */
export class AveragePooling2D extends Pooling {
  constructor(options: PoolingOptions = {}) {
    super('AveragePooling2D', options, 'layers.averagePooling2d');
  }

  override call([x]: readonly Node[]): Node {
    return o.averagePool(x!, this.window(x!));
  }
}

export interface GlobalPoolingOptions extends LayerOptions {
  /** True keeps height and width as axes of size 1. */
  readonly keepdims?: boolean;
}

const globalPoolingOptions = fields({
  ...layerEntries,
  keepdims: optional(flag, false),
} satisfies Entries<GlobalPoolingOptions>);

abstract class GlobalPooling extends ConfiguredLayer<{ readonly keepdims: boolean }> {
  constructor(className: string, options: GlobalPoolingOptions, where: string) {
    super(className, checked(globalPoolingOptions, options, where));
  }

  override config() {
    return { data_format: 'channels_last', ...super.config() };
  }
}

/** Mean over height and width (keras.layers.GlobalAveragePooling2D). */
export class GlobalAveragePooling2D extends GlobalPooling {
  constructor(options: GlobalPoolingOptions = {}) {
    super('GlobalAveragePooling2D', options, 'layers.globalAveragePooling2d');
  }

  override call([x]: readonly Node[]): Node {
    return o.mean(x!, [1, 2], this.options.keepdims);
  }
}

/** Maximum over height and width (keras.layers.GlobalMaxPooling2D). */
export class GlobalMaxPooling2D extends GlobalPooling {
  constructor(options: GlobalPoolingOptions = {}) {
    super('GlobalMaxPooling2D', options, 'layers.globalMaxPooling2d');
  }

  override call([x]: readonly Node[]): Node {
    return o.reduceMax(x!, [1, 2], this.options.keepdims);
  }
}
