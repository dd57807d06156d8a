/** Where a model begins (keras.Input). */
import * as v from 'valibot';
import { checked, type Entries, fields, wholeNumber } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { formatShape, sizeOf } from '../core/tensor.ts';
import type { Node } from '../graph/node.ts';
import { Layer, type LayerOptions, layerEntries, type SymbolicTensor } from './layer.ts';

export interface InputOptions extends LayerOptions {
  /** Without the batch: [32, 32, 3]. */
  readonly shape: readonly number[];
}

/** Values of one input: what the readers of pictures and the runtime count with 32 bits. */
const most = 2 ** 31 - 1;

export class InputLayer extends Layer {
  readonly shape: readonly number[];

  constructor({ shape, ...options }: InputOptions) {
    super('InputLayer', options);
    if (!shape.every((dim) => Number.isInteger(dim) && dim > 0)) {
      fail(
        'unsupported',
        `${this.name}: every dimension of an input but the batch must be known, got ` +
          `(${shape.map((dim) => dim ?? 'None').join(', ')}). If a file leaves the size of its images open, say it: ` +
          'models.load(path, { inputShape: [224, 224, 3] }).',
      );
    }
    if (sizeOf(shape) > most) {
      fail(
        'unsupported',
        `${this.name}: one input of shape ${formatShape(shape)} would have ${sizeOf(shape)} values; at most ${most} fit.`,
      );
    }
    this.shape = shape;
    this.apply([]);
  }

  /** From Keras 3's `batch_shape` or Keras 2's `batch_input_shape`. */
  static fromConfig(config: {
    readonly batchShape?: readonly (number | null)[];
    readonly batchInputShape?: readonly (number | null)[];
    readonly name: string;
  }): InputLayer {
    const shape =
      config.batchShape ?? config.batchInputShape ?? fail('file', `${config.name} has no batch_shape.`);
    return new InputLayer({ name: config.name, shape: shape.slice(1) as number[] });
  }

  override config() {
    return { batch_shape: [null, ...this.shape] };
  }

  override call([x]: readonly Node[]): Node {
    return x ?? fail('state', `${this.name} is fed, not computed.`);
  }

  protected override outputShape(): readonly number[] {
    return this.shape;
  }
}

const inputOptions = fields({
  ...layerEntries,
  shape: v.array(wholeNumber(1), 'an array of sizes without the batch, such as [224, 224, 3]'),
} satisfies Entries<InputOptions>);

/** The symbolic input of a model. */
export function input(options: InputOptions): SymbolicTensor {
  return new InputLayer(checked(inputOptions, options, 'layers.input')).output;
}
