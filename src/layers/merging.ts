/** Add, Multiply and Concatenate, as keras.layers: several tensors become one. */
import { checked, type Entries, fields, optional, whole } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { ConfiguredLayer, Layer, type LayerOptions, layerEntries } from './layer.ts';

const noOptions = fields(layerEntries);

/** Layers that fold their inputs with one operation; shapes broadcast. */
abstract class Fold extends Layer {
  override config() {
    return {};
  }

  protected abstract combine(a: Node, b: Node): Node;

  override call(inputs: readonly Node[]): Node {
    if (inputs.length < 2) fail('argument', `${this.name} needs two or more inputs, got ${inputs.length}.`);
    return inputs.reduce((total, input) => this.combine(total, input));
  }
}

/** Sums its inputs (keras.layers.Add). */
export class Add extends Fold {
  constructor(options: LayerOptions = {}) {
    super('Add', checked(noOptions, options, 'layers.add'));
  }

  protected override combine(a: Node, b: Node): Node {
    return o.add(a, b);
  }
}

/** Multiplies its inputs, element by element (keras.layers.Multiply). */
export class Multiply extends Fold {
  constructor(options: LayerOptions = {}) {
    super('Multiply', checked(noOptions, options, 'layers.multiply'));
  }

  protected override combine(a: Node, b: Node): Node {
    return o.mul(a, b);
  }
}

export interface ConcatenateOptions extends LayerOptions {
  /** Counts the batch as axis 0; defaults to the last. */
  readonly axis?: number;
}

const concatenateOptions = fields({
  ...layerEntries,
  axis: optional(whole, -1),
} satisfies Entries<ConcatenateOptions>);

/** keras.layers.Concatenate */
export class Concatenate extends ConfiguredLayer<{ readonly axis: number }> {
  constructor(options: ConcatenateOptions = {}) {
    super('Concatenate', checked(concatenateOptions, options, 'layers.concatenate'));
  }

  override call(inputs: readonly Node[]): Node {
    return o.concat(inputs, this.options.axis);
  }
}
