/** Dense, as keras.layers. */
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { activation } from './activations.ts';
import { type Initializer, type InitializerOption, initializer } from './initializers.ts';
import { type CallContext, ConfiguredLayer, type LayerOptions, type VariableSpec } from './layer.ts';
import type { Regularizer } from './regularizers.ts';

export interface DenseOptions extends LayerOptions {
  readonly units: number;
  readonly activation?: string;
  readonly useBias?: boolean;
  readonly kernelInitializer?: InitializerOption;
  readonly biasInitializer?: InitializerOption;
  readonly kernelRegularizer?: Regularizer | null;
  readonly biasRegularizer?: Regularizer | null;
}

interface DenseConfig {
  readonly units: number;
  readonly activation: string;
  readonly useBias: boolean;
  readonly kernelInitializer: Initializer;
  readonly biasInitializer: Initializer;
  readonly kernelRegularizer: Regularizer | null;
  readonly biasRegularizer: Regularizer | null;
}

/**
 * `activation(x · kernel + bias)` over the last axis (keras.layers.Dense).
 *
 * Input (batch, ..., inputs); output (batch, ..., units). Weights: `kernel` (inputs, units), `bias` (units,).
 */
export class Dense extends ConfiguredLayer<DenseConfig> {
  constructor(options: DenseOptions) {
    super(
      'Dense',
      {
        units: options.units,
        activation: options.activation ?? 'linear',
        useBias: options.useBias ?? true,
        kernelInitializer: initializer(options.kernelInitializer ?? 'glorot_uniform'),
        biasInitializer: initializer(options.biasInitializer ?? 'zeros'),
        kernelRegularizer: options.kernelRegularizer ?? null,
        biasRegularizer: options.biasRegularizer ?? null,
      },
      options,
    );
    activation(this.options.activation);
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
