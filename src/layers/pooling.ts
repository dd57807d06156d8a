/** Max, average and global pooling, as keras.layers. */
import type { Node, Pair } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { ConfiguredLayer, type LayerOptions } from './layer.ts';
import { checkPadding, type Padding, type PairOption, paddingOf, pair } from './windows.ts';

export interface PoolingOptions extends LayerOptions {
  /** Defaults to 2. */
  readonly poolSize?: PairOption;
  /** Defaults to the pool size. */
  readonly strides?: PairOption | null;
  readonly padding?: Padding;
}

interface PoolingConfig {
  readonly poolSize: Pair;
  readonly strides: Pair;
  readonly padding: Padding;
}

abstract class Pooling extends ConfiguredLayer<PoolingConfig> {
  constructor(className: string, options: PoolingOptions) {
    const poolSize = pair('poolSize', options.poolSize ?? 2);
    super(
      className,
      {
        poolSize,
        strides: pair('strides', options.strides ?? poolSize),
        padding: checkPadding(className, options.padding ?? 'valid'),
      },
      options,
    );
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
    super('MaxPooling2D', options);
  }

  override call([x]: readonly Node[]): Node {
    return o.maxPool(x!, this.window(x!));
  }
}

/** keras.layers.AveragePooling2D: padding does not count in the average. */
export class AveragePooling2D extends Pooling {
  constructor(options: PoolingOptions = {}) {
    super('AveragePooling2D', options);
  }

  override call([x]: readonly Node[]): Node {
    return o.averagePool(x!, this.window(x!));
  }
}

export interface GlobalPoolingOptions extends LayerOptions {
  /** True keeps height and width as axes of size 1. */
  readonly keepdims?: boolean;
}

abstract class GlobalPooling extends ConfiguredLayer<{ readonly keepdims: boolean }> {
  constructor(className: string, options: GlobalPoolingOptions) {
    super(className, { keepdims: options.keepdims ?? false }, options);
  }

  override config() {
    return { data_format: 'channels_last', ...super.config() };
  }
}

/** Mean over height and width (keras.layers.GlobalAveragePooling2D). */
export class GlobalAveragePooling2D extends GlobalPooling {
  constructor(options: GlobalPoolingOptions = {}) {
    super('GlobalAveragePooling2D', options);
  }

  override call([x]: readonly Node[]): Node {
    return o.mean(x!, [1, 2], this.options.keepdims);
  }
}

/** Maximum over height and width (keras.layers.GlobalMaxPooling2D). */
export class GlobalMaxPooling2D extends GlobalPooling {
  constructor(options: GlobalPoolingOptions = {}) {
    super('GlobalMaxPooling2D', options);
  }

  override call([x]: readonly Node[]): Node {
    return o.reduceMax(x!, [1, 2], this.options.keepdims);
  }
}
