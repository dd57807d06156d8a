/**
 * A graph of layers that is a layer itself: Keras's Functional and Sequential models, their structure and
 * weights. It does not own training; `training/model.ts` adds that.
 */
import { fail } from '../core/errors.ts';
import { expectedName } from '../core/nearest.ts';
import { Random } from '../core/random.ts';
import { sameShape } from '../core/tensor.ts';
import type { Node } from '../graph/node.ts';
import { InputLayer } from '../layers/input.ts';
import {
  type CallContext,
  Layer,
  type LayerCall,
  type LayerOptions,
  type SymbolicTensor,
  type Variable,
} from '../layers/layer.ts';

export interface FunctionalOptions extends LayerOptions {
  readonly inputs: SymbolicTensor;
  readonly outputs: SymbolicTensor;
}

export class Network extends Layer {
  readonly input: SymbolicTensor;
  readonly result: SymbolicTensor;
  /** Every layer, in Keras's order: by depth, then as first met from the output. */
  readonly layers: readonly Layer[];
  /** The applications of layers that lead from input to output, each after what it needs. */
  readonly steps: readonly LayerCall[];

  constructor(className: 'Functional' | 'Sequential', { inputs, outputs, ...options }: FunctionalOptions) {
    super(className, options);
    this.input = inputs;
    this.result = outputs;
    const { steps, layers } = traverse(inputs, outputs);
    this.steps = steps;
    // As in Keras, a Sequential model does not list its input.
    this.layers =
      className === 'Sequential' ? layers.filter((layer) => !(layer instanceof InputLayer)) : layers;
    const names = new Set<string>();
    for (const { name } of this.layers) {
      if (names.has(name))
        fail('argument', `Model ${this.name} has two layers named ${name}; names must be unique.`);
      names.add(name);
    }
    if (options.trainable === false) this.trainable = false;
  }

  /** Weights of all layers in order, those of nested models included. */
  override get variables(): readonly Variable[] {
    return [...new Set(this.layers.flatMap((layer) => layer.variables))];
  }

  get trainableVariables(): readonly Variable[] {
    return this.variables.filter((variable) => variable.trainable);
  }

  override get trainable(): boolean {
    return super.trainable;
  }

  /** Freezes or thaws every layer inside, as in Keras. */
  override set trainable(value: boolean) {
    super.trainable = value;
    for (const layer of this.layers ?? []) layer.trainable = value;
  }

  /** Sets the model's own flag and leaves those of its layers alone, as Keras does when it reads a Functional model. */
  markTrainable(value: boolean): void {
    super.trainable = value;
  }

  override config(): Record<string, unknown> {
    return fail('state', 'The config of a model is written by models/config.ts.');
  }

  /** A layer by name, nested models included. Throws `argument` with similar names. */
  getLayer(name: string): Layer {
    const found = this.#find(name);
    if (found !== null) return found;
    const known = [...new Set([...this.layers, ...this.leaves()].map((layer) => layer.name))];
    const hint = expectedName(name, known, 'model.summary() lists its layers.');
    return fail('argument', `Model ${this.name} has no layer named "${name}". ${hint}`);
  }

  #find(name: string): Layer | null {
    for (const layer of this.layers) {
      if (layer.name === name) return layer;
      if (layer instanceof Network) {
        const inside = layer.#find(name);
        if (inside !== null) return inside;
      }
    }
    return null;
  }

  /**
   * Freezes every layer before the named one and makes it and all after it trainable: fine-tuning of the last
   * part. The name may lie in a nested model. Takes effect at the next `compile`.
   */
  freezeUntil(name: string): void {
    this.getLayer(name);
    let reached = false;
    const visit = (network: Network): void => {
      // The flag of a container decides nothing by itself; leaves do.
      for (const layer of network.layers) {
        if (layer.name === name) reached = true;
        if (layer instanceof Network && !reached) visit(layer);
        else layer.trainable = reached;
      }
    };
    visit(this);
  }

  /** Freezes every layer. */
  freeze(): void {
    this.trainable = false;
  }

  /** Which layers with weights train, in order. */
  trainingPlan(): readonly {
    readonly layer: string;
    readonly className: string;
    readonly trainable: boolean;
  }[] {
    return this.leaves()
      .filter((layer) => layer.variables.length > 0)
      .map((layer) => ({ layer: layer.name, className: layer.className, trainable: layer.trainable }));
  }

  /** Every layer that is not a model, those of nested models included. */
  leaves(): readonly Layer[] {
    return this.layers.flatMap((layer) => (layer instanceof Network ? layer.leaves() : [layer]));
  }

  /**
   * Gives values to weights that have none; each draws from its own stream, by its position in the model. Returns
   * what was drawn in place of weights that a file lacks. Throws `weights` if such a weight is frozen: it would
   * stay noise.
   */
  initialize(seed: number): readonly Variable[] {
    const fresh = [...this.variables.entries()].filter(([, variable]) => !variable.initialized);
    const missing = fresh.map(([, variable]) => variable).filter(({ missingFrom }) => missingFrom !== null);
    const frozen = missing.filter(({ layer }) => !layer.trainable);
    if (frozen.length > 0) {
      const names = [...new Set(frozen.map(({ layer }) => layer.name))];
      fail(
        'weights',
        `${frozen[0]!.missingFrom} lacks the weights of ${names.length} frozen layer(s): ${someOf(names)}. ` +
          'Make them trainable, end the backbone before them, or use a file that has them.',
      );
    }
    for (const [index, variable] of fresh) variable.initialize(new Random(seed, 'initialize', index));
    return missing;
  }

  /** Copies of all weights, in the order of `variables`. */
  getWeights(): Float32Array[] {
    return this.variables.map(({ values }) => values.slice());
  }

  /** Sets all weights, in the order of `variables`. */
  setWeights(weights: readonly Float32Array[]): void {
    const { variables } = this;
    if (weights.length !== variables.length) {
      fail('weights', `Model ${this.name} has ${variables.length} weights, got ${weights.length}.`);
    }
    variables.forEach((variable, i) => {
      variable.assign(weights[i]!.slice());
    });
  }

  override countParams(): number {
    return [...new Set(this.leaves())].reduce((total, layer) => total + layer.countParams(), 0);
  }

  override call([x]: readonly Node[], context: CallContext): Node {
    const nodes = new Map<SymbolicTensor, Node>([[this.input, x!]]);
    for (const { inputs, output, training } of this.steps) {
      const values = inputs.map((input) => nodes.get(input)!);
      const node = output.layer.call(values, training === false ? { ...context, training } : context);
      context.called?.(node, output.layer);
      nodes.set(output, node);
    }
    return nodes.get(this.result)!;
  }

  protected override build([shape]: readonly (readonly number[])[]): void {
    if (!sameShape(shape!, this.input.shape)) {
      fail('shape', `Model ${this.name} takes inputs of shape (${this.input.shape}), got (${shape}).`);
    }
  }

  protected override outputShape(): readonly number[] {
    return this.result.shape;
  }
}

/** The application that made a symbolic tensor. */
export function callOf({ layer, call }: SymbolicTensor): LayerCall {
  return layer.calls[call]!;
}

/**
 * What lies between input and output, ordered as Keras does (`map_graph`): the depth of an application is its
 * longest way to the output; layers go from deep to shallow, ties in the order of a depth-first walk.
 */
function traverse(input: SymbolicTensor, output: SymbolicTensor): { steps: LayerCall[]; layers: Layer[] } {
  const order: SymbolicTensor[] = [];
  const met = new Map<Layer, number>();
  const state = new Map<SymbolicTensor, 'open' | 'done'>();
  const stack = [output];
  while (stack.length > 0) {
    const current = stack.at(-1)!;
    if (state.get(current) === undefined) {
      state.set(current, 'open');
      if (!met.has(current.layer)) met.set(current.layer, met.size);
      const sources = current === input ? [] : callOf(current).inputs;
      if (current !== input && sources.length === 0) {
        fail(
          'argument',
          `The output depends on the input "${current.layer.name}", which is not the model's input.`,
        );
      }
      for (const source of [...sources].reverse()) if (state.get(source) === undefined) stack.push(source);
    } else {
      stack.pop();
      if (state.get(current) === 'open') {
        state.set(current, 'done');
        order.push(current);
      }
    }
  }
  if (!state.has(input)) fail('argument', `The output does not depend on the input "${input.layer.name}".`);

  const depths = new Map<SymbolicTensor, number>();
  const layerDepths = new Map<Layer, number>();
  for (const current of [...order].reverse()) {
    const depth = Math.max(depths.get(current) ?? 0, layerDepths.get(current.layer) ?? 0);
    layerDepths.set(current.layer, depth);
    for (const source of current === input ? [] : callOf(current).inputs) {
      depths.set(source, Math.max(depth + 1, depths.get(source) ?? 0));
    }
  }
  const layers = [...layerDepths.keys()].sort(
    (a, b) => layerDepths.get(b)! - layerDepths.get(a)! || met.get(a)! - met.get(b)!,
  );
  return { steps: order.filter((tensor) => tensor !== input).map(callOf), layers };
}

/** The first few of a list of names. */
export function someOf(names: readonly string[], count = 6): string {
  return names.slice(0, count).join(', ') + (names.length > count ? `, ... (${names.length})` : '');
}
