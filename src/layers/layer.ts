/**
 * What a layer is: a name, options, weights, and a way to write its mathematics into a graph. It owns the
 * symbolic tensors that connect layers; it does not own values of a batch (the engine has those).
 */
import * as v from 'valibot';
import { checked, type Entries, fields, flag, optional, text } from '../core/checked.ts';
import type { Distribution } from '../core/distributions.ts';
import { fail } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import { formatShape, sizeOf } from '../core/tensor.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import type { Initializer } from './initializers.ts';
import type { Regularizer } from './regularizers.ts';
import { classToSnake, toSnake } from './serialization.ts';

/** One weight of a layer. Its values exist once something needs them. */
export class Variable {
  readonly layer: Layer;
  /** Keras's short name: `kernel`, `gamma`, `moving_mean`. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly regularizer: Regularizer | null;
  /** False for statistics that a step moves without a gradient. */
  readonly learned: boolean;
  readonly byRows: boolean;
  /** The file that was expected to hold it and did not. */
  missingFrom: string | null = null;
  readonly #initializer: Initializer;
  #values: Float32Array | null = null;
  #version = 0;

  constructor(layer: Layer, spec: VariableSpec) {
    this.layer = layer;
    this.name = spec.name;
    this.shape = spec.shape;
    this.regularizer = spec.regularizer ?? null;
    this.learned = spec.learned ?? true;
    this.byRows = spec.byRows ?? false;
    this.#initializer = spec.initializer;
  }

  /** `conv1_conv/kernel` */
  get path(): string {
    return `${this.layer.name}/${this.name}`;
  }

  get size(): number {
    return sizeOf(this.shape);
  }

  /** True if training changes it by gradient: learned, and its layer is trainable. */
  get trainable(): boolean {
    return this.learned && this.layer.trainable;
  }

  /** Counts assignments, so that whoever compiled the values in can see that they changed. */
  get version(): number {
    return this.#version;
  }

  get initialized(): boolean {
    return this.#values !== null;
  }

  /** The values, row-major. Do not write into them; use `assign`. */
  get values(): Float32Array {
    return (
      this.#values ??
      fail('state', `${this.path} has no values yet; compile the model or load weights first.`)
    );
  }

  /** Replaces the values; keeps the array that is given. Throws `weights` if the size is another. */
  assign(values: Float32Array): void {
    if (values.length !== this.size) {
      fail(
        'weights',
        `${this.path} has shape ${formatShape(this.shape)}, ${this.size} values; got ${values.length} values.`,
      );
    }
    this.#values = values;
    this.missingFrom = null;
    this.#version++;
  }

  /** Draws the initial values. */
  initialize(random: Random): void {
    this.assign(this.#initializer.values(this.shape, random));
  }
}

export interface VariableSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly initializer: Initializer;
  readonly regularizer?: Regularizer | null;
  readonly learned?: boolean;
  /** The layer takes it by rows (`CallContext.rows`), so a large one may come in pieces. Defaults to false. */
  readonly byRows?: boolean;
}

/** What a layer may ask for while it writes itself into a graph. */
export interface CallContext {
  /** True in a training step: dropout drops, trainable batch normalization uses the batch's statistics. */
  readonly training: boolean;
  weight(variable: Variable): Node;
  /** A weight that its spec calls `byRows`, in pieces, one below the other. Without it such weights come whole. */
  rows?(variable: Variable): readonly Node[];
  /** Says what a variable that is not learned becomes after this step. */
  update(variable: Variable, next: Node): void;
  /** Uniform noise in [0, 1), drawn anew for each step and supplied as an input. */
  uniform(layer: Layer, shape: readonly number[]): Node;
  /** The same of another distribution. */
  draw(layer: Layer, shape: readonly number[], distribution: Distribution): Node;
  /** Says what one-hot labels (batch, classes) become in a training step whose pictures are mixed. */
  mixLabels(layer: Layer, mix: (rows: Node) => Node): void;
  /** Hears what each layer inside a network puts out, in order. */
  called?(output: Node, layer: Layer): void;
}

/** The output of a layer in a model under construction. Shapes leave the batch out. */
export interface SymbolicTensor {
  readonly layer: Layer;
  /** Which call of the layer made it. */
  readonly call: number;
  readonly shape: readonly number[];
}

/** One application of a layer. */
export interface LayerCall extends CallOptions {
  readonly inputs: readonly SymbolicTensor[];
  readonly output: SymbolicTensor;
}

/** How a layer is applied. */
export interface CallOptions {
  /**
   * False keeps this application in inference mode in training steps too, as `layer(x, training=False)` of Keras 2:
   * batch normalization uses its moving averages, dropout drops nothing, gradients flow. Keras 3's `fit` overrules it.
   */
  readonly training?: false;
}

/** Options that every layer has. */
export interface LayerOptions {
  /** Defaults to the class name in snake case, made unique: `dense`, `dense_1`. */
  readonly name?: string;
  readonly trainable?: boolean;
}

/** Schemas of the options that every layer has. */
export const layerEntries = {
  name: optional(text),
  trainable: optional(flag, true),
} satisfies Entries<LayerOptions>;

const nameCounts = new Map<string, number>();

/** Makes default layer names start anew, as `keras.utils.clear_session` does. */
export function clearSession(): void {
  nameCounts.clear();
}

export function uniqueName(base: string): string {
  const count = nameCounts.get(base) ?? 0;
  nameCounts.set(base, count + 1);
  return count === 0 ? base : `${base}_${count}`;
}

/** A layer as Keras has it: made from options, built when it is first applied, its weights named by path. */
export abstract class Layer {
  readonly className: string;
  /** Where Keras has the class, for its files. */
  readonly kerasModule: string = 'keras.layers';
  readonly name: string;
  readonly calls: LayerCall[] = [];
  #trainable: boolean;
  #variables: readonly Variable[] | null = null;

  constructor(className: string, { name, trainable = true }: LayerOptions) {
    this.className = className;
    this.name = name ?? uniqueName(classToSnake(className));
    this.#trainable = trainable;
  }

  get trainable(): boolean {
    return this.#trainable;
  }

  /** Freezes or thaws the layer; takes effect at the next `compile`. */
  set trainable(value: boolean) {
    this.#trainable = value;
  }

  /** Every weight of the layer: learned ones first, in Keras's order. Empty until the layer is applied. */
  get variables(): readonly Variable[] {
    return this.#variables ?? [];
  }

  /** How many numbers its weights have, those that never train included. */
  countParams(): number {
    return this.variables.reduce((total, { size }) => total + size, 0);
  }

  /** Keras's config of this layer, without name, trainable and dtype. */
  abstract config(): Record<string, unknown>;

  /** The weights for inputs of these shapes (without the batch). */
  protected specs(_shapes: readonly (readonly number[])[]): readonly VariableSpec[] {
    return [];
  }

  /** Files that the layer needs beside its weights, by name; they are saved next to the model. Most have none. */
  get assets(): ReadonlyMap<string, Uint8Array> {
    return new Map();
  }

  /** Takes its files back when a model is loaded. */
  async loadAssets(_read: (name: string) => Promise<Uint8Array>): Promise<void> {}

  /** Writes the layer into a graph. Node shapes begin with the batch, −1. */
  abstract call(inputs: readonly Node[], context: CallContext): Node;

  /** Connects the layer to the output of others (Keras's `layer(x)`) and makes its weights at the first time. */
  apply(inputs: SymbolicTensor | readonly SymbolicTensor[], options: CallOptions = {}): SymbolicTensor {
    const list = [checked(symbolics, inputs, `${this.name}.apply`)].flat();
    const how = checked(callOptions, options, `${this.name}.apply`);
    this.build(list.map(({ shape }) => shape));
    for (const { path, shape } of this.variables) this.#checkShape(path, shape);
    const shape = this.outputShape(list);
    this.#checkShape('its output', shape);
    const output = { layer: this, call: this.calls.length, shape };
    this.calls.push({ ...how, inputs: list, output });
    return output;
  }

  /** Whether the layer, or one inside it, computes something else in a training step. */
  dependsOnTraining(inputs: readonly SymbolicTensor[]): boolean {
    this.build(inputs.map(({ shape }) => shape));
    let asked = false;
    const placeholders = inputs.map(({ shape }, i) => o.input(`input_${i}`, [-1, ...shape]));
    this.call(placeholders, {
      ...shapeContext,
      get training() {
        asked = true;
        return false;
      },
    });
    return asked;
  }

  #checkShape(what: string, shape: readonly number[]): void {
    if (shape.every((dim) => Number.isSafeInteger(dim) && dim > 0)) return;
    fail(
      'shape',
      `Layer ${this.name} (${this.className}): ${what} would have shape ${formatShape(shape)}; ` +
        'every dimension must be a whole number of at least 1. Check its options and the size of its input.',
    );
  }

  /** The output of the layer's only call. Throws `state` if it was not applied exactly once. */
  get output(): SymbolicTensor {
    if (this.calls.length !== 1) {
      fail(
        'state',
        `Layer ${this.name} was applied ${this.calls.length} times; only one application has "the" output.`,
      );
    }
    return this.calls[0]!.output;
  }

  /** Makes the weights for inputs of these shapes, without the batch. */
  protected build(shapes: readonly (readonly number[])[]): void {
    this.#variables ??= this.specs(shapes).map((spec) => new Variable(this, spec));
  }

  /** The graph's own shape rules say what comes out. */
  protected outputShape(inputs: readonly SymbolicTensor[]): readonly number[] {
    const placeholders = inputs.map(({ shape }, i) => o.input(`input_${i}`, [-1, ...shape]));
    return this.call(placeholders, shapeContext).shape.slice(1);
  }
}

/** What `layers.input` returns, or `layer.apply`. */
export const symbolic = v.custom<SymbolicTensor>(
  (value) =>
    typeof value === 'object' && value !== null && (value as Partial<SymbolicTensor>).layer instanceof Layer,
  'the output of a layer (such as layers.input({ … }) or layer.apply(…) return)',
);

/** A layer, models included. */
export const layerSchema = v.custom<Layer>((value) => value instanceof Layer, 'a layer');

const callOptions = fields({
  training: optional(v.literal(false, 'false')),
} satisfies Entries<CallOptions>);

const symbolics = v.union([symbolic, v.array(symbolic, 'an array of them')]);

/** A context in which only shapes matter. */
export const shapeContext: CallContext = {
  training: false,
  weight: (variable) => o.input(variable.path, variable.shape),
  update: () => undefined,
  uniform: (layer, shape) => o.input(`${layer.name}/noise`, shape),
  draw: (layer, shape) => o.input(`${layer.name}/noise`, shape),
  mixLabels: () => undefined,
};

/** What a schema makes of the options of one layer, without those of every layer. */
export type OwnOptions<S extends v.GenericSchema> = Omit<v.InferOutput<S>, keyof LayerOptions>;

/** A layer whose options are plain data: its config is those options in Keras's spelling. */
export abstract class ConfiguredLayer<Options extends object> extends Layer {
  protected readonly options: Required<Options>;

  /** The options as their schema reads them, those of every layer among them. */
  constructor(className: string, options: Required<Options> & LayerOptions) {
    const { name, trainable, ...own } = options;
    super(className, options);
    this.options = own as unknown as Required<Options>;
  }

  config(): Record<string, unknown> {
    const entries = Object.entries(this.options).map(([key, value]) => [toSnake(key), kerasValue(value)]);
    return Object.fromEntries(entries);
  }
}

function kerasValue(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'keras' in value ? value.keras : value;
}
