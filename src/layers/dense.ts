/** Dense, as keras.layers. */
import { checked, type Entries, fields, flag, optional, wholeNumber } from '../core/checked.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { activation, activationSchema } from './activations.ts';
import { type InitializerOption, initializerSchema } from './initializers.ts';
import {
  type CallContext,
  ConfiguredLayer,
  type LayerOptions,
  layerEntries,
  type OwnOptions,
  type VariableSpec,
} from './layer.ts';
import { type Regularizer, regularizerSchema } from './regularizers.ts';

export interface DenseOptions extends LayerOptions {
  readonly units: number;
  readonly activation?: string;
  readonly useBias?: boolean;
  readonly kernelInitializer?: InitializerOption;
  readonly biasInitializer?: InitializerOption;
  readonly kernelRegularizer?: Regularizer | null;
  readonly biasRegularizer?: Regularizer | null;
}

const denseOptions = fields({
  ...layerEntries,
  units: wholeNumber(1),
  activation: optional(activationSchema, 'linear'),
  useBias: optional(flag, true),
  kernelInitializer: optional(initializerSchema, 'glorot_uniform'),
  biasInitializer: optional(initializerSchema, 'zeros'),
  kernelRegularizer: optional(regularizerSchema, null),
  biasRegularizer: optional(regularizerSchema, null),
} satisfies Entries<DenseOptions>);

/**
 * `activation(x · kernel + bias)` over the last axis (keras.layers.Dense).
 *
 * Input (batch, ..., inputs); output (batch, ..., units). Weights: `kernel` (inputs, units), `bias` (units,).
 */
export class Dense extends ConfiguredLayer<OwnOptions<typeof denseOptions>> {
  constructor(options: DenseOptions) {
    super('Dense', checked(denseOptions, options, 'layers.dense'));
  }

  protected override specs([shape]: readonly (readonly number[])[]): readonly VariableSpec[] {
    const { units, useBias, kernelInitializer, biasInitializer, kernelRegularizer, biasRegularizer } =
      this.options;
    const kernel = {
      name: 'kernel',
      shape: [shape!.at(-1)!, units],
      initializer: kernelInitializer,
      regularizer: kernelRegularizer,
      byRows: true,
    };
    const bias = { name: 'bias', shape: [units], initializer: biasInitializer, regularizer: biasRegularizer };
    return useBias ? [kernel, bias] : [kernel];
  }

  override call([x]: readonly Node[], context: CallContext): Node {
    const [kernel, bias] = this.variables;
    const leading = x!.shape.slice(0, -1);
    const matrix = o.reshape(x!, [leading.reduce((size, dim) => size * dim, 1), x!.shape.at(-1)!]);
    let start = 0;
    // x · [A; B] = x₁ · A + x₂ · B
    const slabs = context.rows?.(kernel!) ?? [context.weight(kernel!)];
    const products = slabs.map((rows) => {
      const end = start + rows.shape[0]!;
      const columns = o.slice(matrix, [{ axis: 1, start, end }]);
      start = end;
      return o.matmul(columns, rows);
    });
    const product = products.reduce((total, each) => o.add(total, each));
    const y = o.reshape(bias ? o.add(product, context.weight(bias)) : product, [
      ...leading,
      this.options.units,
    ]);
    return activation(this.options.activation)(y);
  }
}
