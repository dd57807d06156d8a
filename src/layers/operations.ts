/**
 * Arithmetic inside a model: what Keras 3 writes for `keras.ops` on the way from input to output (`x / 127.5 - 1`,
 * `x[..., ::-1]`) and Keras 2 for TensorFlow's functions (`TFOpLambda`, `SlicingOpLambda`). No code comes with it, only
 * the name of a function and its arguments. In here an operation has Keras 3's name, whoever wrote it.
 */
import { fail } from '../core/errors.ts';
import { isRecord, lookUp } from '../core/records.ts';
import { float32, sizeOf } from '../core/tensor.ts';
import { describeShape } from '../graph/dimensions.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { activation } from './activations.ts';
import { Layer } from './layer.ts';

/** One argument of an operation. */
export type Argument =
  | number
  | string
  | boolean
  | null
  /** A tensor, by its place among the inputs. */
  | { readonly input: number }
  /** A constant tensor: numbers in lists. */
  | { readonly array: unknown }
  | { readonly slice: readonly [start: number | null, stop: number | null, step: number | null] }
  | { readonly ellipsis: true }
  | { readonly list: readonly Argument[] };

/** An operation with its arguments, as Keras 3 describes it. */
export interface OperationOptions {
  readonly name: string;
  /** Keras's class: `TrueDivide`. */
  readonly operation: string;
  /** What the class was made with. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** What it is called with, in the order of its parameters, and by name. */
  readonly args: readonly Argument[];
  readonly kwargs?: Readonly<Record<string, Argument>>;
}

/** An operation of `keras.ops` as a layer without weights. */
export class Operation extends Layer {
  override readonly kerasModule: string;
  readonly args: readonly Argument[];
  readonly kwargs: Readonly<Record<string, Argument>>;
  readonly #config: Readonly<Record<string, unknown>>;
  /** Made once, so that what training and inference compute of them is the same and lies before the cut. */
  readonly #constants = new Map<unknown, Node>();

  constructor({ name, operation, config = {}, args, kwargs = {} }: OperationOptions) {
    super(operation, { name });
    this.kerasModule = `keras.src.ops.${kindOf(operation).module}`;
    this.#config = config;
    this.args = args;
    this.kwargs = kwargs;
  }

  override config(): Record<string, unknown> {
    return { ...this.#config };
  }

  override call(inputs: readonly Node[]): Node {
    const { parameters, compute } = kindOf(this.className);
    const named = Object.fromEntries(
      this.args.map((value, i) => [parameters[i] ?? `argument ${i + 1}`, value]),
    );
    const given = { ...this.#config, ...named, ...this.kwargs };
    return compute(new Arguments(`${this.name} (${this.className})`, given, inputs, this.#constants));
  }
}

/** The arguments of one call, by name, read as what the operation needs. Throws `unsupported` for anything else. */
class Arguments {
  readonly #where: string;
  readonly #given: Readonly<Record<string, unknown>>;
  readonly #inputs: readonly Node[];
  readonly #constants: Map<unknown, Node>;

  constructor(
    where: string,
    given: Readonly<Record<string, unknown>>,
    inputs: readonly Node[],
    constants: Map<unknown, Node>,
  ) {
    this.#where = where;
    this.#given = given;
    this.#inputs = inputs;
    this.#constants = constants;
  }

  refuse(why: string): never {
    return fail('unsupported', `Operation ${this.#where}: ${why}.`);
  }

  /** Undefined where neither the call nor the class says anything, or `null`. */
  value(name: string): unknown {
    return this.#given[name] ?? undefined;
  }

  /** A tensor, a constant tensor, or a number as a scalar. */
  node(name: string): Node {
    const value = this.value(name);
    return (
      this.#nodeOf(value) ?? this.refuse(`${name} = ${JSON.stringify(value)} is neither tensor nor number`)
    );
  }

  /** A list of tensors. */
  nodes(name: string): readonly Node[] {
    const value = this.value(name);
    const items = listOf(value) ?? this.refuse(`${name} = ${JSON.stringify(value)} is no list of tensors`);
    return items.map(
      (item) => this.#nodeOf(item) ?? this.refuse(`${name} holds something that is no tensor`),
    );
  }

  number(name: string, otherwise: number): number {
    const value = this.value(name) ?? otherwise;
    return typeof value === 'number' ? value : this.refuse(`${name} = ${JSON.stringify(value)} is no number`);
  }

  flag(name: string, otherwise: boolean): boolean {
    return (this.value(name) ?? otherwise) === true;
  }

  /** Throws if an argument that has one meaning here asks for another. */
  only(name: string, values: readonly unknown[]): void {
    const value = this.value(name);
    if (value !== undefined && !values.includes(value)) {
      this.refuse(`Graft does not have ${name} = ${JSON.stringify(value)}`);
    }
  }

  /** Whole numbers; one number counts as a list of one. Undefined where nothing is said. */
  integers(name: string): readonly number[] | undefined {
    const value = this.value(name);
    if (value === undefined) return undefined;
    const items = typeof value === 'number' ? [value] : listOf(value);
    const whole = items?.filter((item): item is number => Number.isInteger(item));
    if (items === null || whole?.length !== items?.length) {
      this.refuse(`${name} = ${JSON.stringify(value)} is no list of whole numbers`);
    }
    return whole;
  }

  /** Axes of a tensor, never the batch: one image must not depend on the others. Defaults to all of them. */
  axes(name: string, rank: number): readonly number[] {
    const axes = (this.integers(name) ?? Array.from({ length: rank }, (_, axis) => axis)).map((axis) =>
      axis < 0 ? axis + rank : axis,
    );
    if (axes.includes(0)) this.refuse(`${name} must not contain the batch`);
    if (axes.some((axis) => axis < 0 || axis >= rank)) this.refuse(`${name} = [${axes}] does not exist`);
    return axes;
  }

  #nodeOf(value: unknown): Node | null {
    if (typeof value === 'number') return o.scalar(value);
    if (isRecord(value) && typeof value['input'] === 'number') return this.#inputs[value['input']]!;
    const numbers = isRecord(value) ? (value['array'] ?? listOf(value)) : undefined;
    if (numbers === undefined || numbers === null) return null;
    const known = this.#constants.get(value);
    if (known !== undefined) return known;
    const shape = shapeOf(numbers);
    const flat = [numbers].flat(16) as unknown[];
    const plain = flat.map((each) => (isRecord(each) ? Number.NaN : Number(each)));
    if (sizeOf(shape) !== flat.length || plain.some((each) => Number.isNaN(each))) return null;
    const constant = o.constant(float32(shape, plain));
    this.#constants.set(value, constant);
    return constant;
  }
}

/** The items of a list with the lists inside as plain arrays; null for anything else. */
function listOf(value: unknown): readonly unknown[] | null {
  const items = Array.isArray(value) ? value : isRecord(value) ? value['list'] : null;
  return Array.isArray(items) ? items.map((item) => listOf(item) ?? item) : null;
}

function shapeOf(numbers: unknown): number[] {
  return Array.isArray(numbers) ? [numbers.length, ...(numbers.length > 0 ? shapeOf(numbers[0]) : [])] : [];
}

interface Kind {
  /** Where Keras 3 has the class: `numpy` of `keras.src.ops`. */
  readonly module: 'numpy' | 'nn' | 'core' | 'image' | 'math';
  /** Of its `call`, in order. */
  readonly parameters: readonly string[];
  readonly compute: (a: Arguments) => Node;
}

const numpy = (parameters: string, compute: Kind['compute']): Kind => ({
  module: 'numpy',
  parameters: parameters.split(' '),
  compute,
});

const unary = (compute: (x: Node) => Node): Kind => numpy('x', (a) => compute(a.node('x')));

const binary = (compute: (a: Node, b: Node) => Node): Kind =>
  numpy('x1 x2', (a) => compute(a.node('x1'), a.node('x2')));

/** Functions that are activations too. */
const nn = (compute: (x: Node, a: Arguments) => Node): Kind => ({
  module: 'nn',
  parameters: ['x'],
  compute: (a) => compute(a.node('x'), a),
});

const reduction = (compute: (x: Node, axes: readonly number[], keepDims: boolean) => Node): Kind =>
  numpy('x', (a) => {
    const x = a.node('x');
    return compute(x, a.axes('axis', x.shape.length), a.flag('keepdims', false));
  });

const variance = (x: Node, axes: readonly number[], keepDims: boolean): Node =>
  o.mean(o.square(o.sub(x, o.mean(x, axes, true))), axes, keepDims);

const absolute = (x: Node): Node => o.max(x, o.neg(x));

/** Every operation that Graft has, by Keras 3's class name. */
const kinds: Readonly<Record<string, Kind>> = {
  Add: binary(o.add),
  Subtract: binary(o.sub),
  Multiply: binary(o.mul),
  Divide: binary(o.div),
  TrueDivide: binary(o.div),
  Maximum: binary(o.max),
  Minimum: binary(o.min),
  Matmul: binary((a, b) => o.matmul(a, b)),
  Power: numpy('x1 x2', power),
  Negative: unary(o.neg),
  Absolute: unary(absolute),
  Abs: unary(absolute),
  Square: unary(o.square),
  Sqrt: unary(o.sqrt),
  Reciprocal: unary((x) => o.div(1, x)),
  Exp: unary(o.exp),
  Log: unary(o.log),
  Sin: unary(o.sin),
  Cos: unary(o.cos),
  Tanh: unary(o.tanh),
  Rsqrt: { ...unary((x) => o.div(1, o.sqrt(x))), module: 'math' },
  Erf: { ...unary(o.erf), module: 'math' },
  Clip: numpy('x', (a) => o.min(o.max(a.node('x'), a.node('x_min')), a.node('x_max'))),

  Mean: reduction(o.mean),
  Sum: reduction(o.sum),
  Max: reduction(o.reduceMax),
  Amax: reduction(o.reduceMax),
  Min: reduction((x, axes, keepDims) => o.neg(o.reduceMax(o.neg(x), axes, keepDims))),
  Amin: reduction((x, axes, keepDims) => o.neg(o.reduceMax(o.neg(x), axes, keepDims))),
  Var: reduction(variance),
  Std: reduction((x, axes, keepDims) => o.sqrt(variance(x, axes, keepDims))),

  GetItem: numpy('x key', getItem),
  Reshape: numpy('x', reshape),
  Squeeze: numpy('x', (a) => {
    const x = a.node('x');
    const axes =
      a.value('axis') === undefined
        ? x.shape.flatMap((dim, axis) => (dim === 1 ? [axis] : []))
        : a.axes('axis', x.shape.length);
    if (axes.some((axis) => x.shape[axis] !== 1))
      a.refuse(`axis = [${axes}] of ${describeShape(x.shape)} is not 1`);
    return o.reshape(
      x,
      x.shape.filter((_, axis) => !axes.includes(axis)),
    );
  }),
  ExpandDims: numpy('x', (a) => {
    const x = a.node('x');
    const [axis] = a.axes('axis', x.shape.length + 1);
    return o.reshape(x, x.shape.toSpliced(axis!, 0, 1));
  }),
  Transpose: numpy('x', (a) => {
    const order = a.integers('axes');
    if (order?.[0] !== 0) a.refuse('axes must begin with the batch, 0');
    return o.transpose(a.node('x'), order!);
  }),
  Flip: numpy('x', (a) => {
    const x = a.node('x');
    return a.axes('axis', x.shape.length).reduce(reversed, x);
  }),
  Pad: numpy('x constant_values', (a) => {
    const x = a.node('x');
    a.only('mode', ['constant', 'CONSTANT']);
    const widths = (listOf(a.value('pad_width')) ?? []).map(listOf);
    const [first] = widths;
    if (widths.length !== x.shape.length || first?.some((width) => width !== 0)) {
      a.refuse('pad_width must be a pair for each axis, 0 and 0 for the batch');
    }
    const side = (i: number) => widths.map((pair) => Number(pair?.[i]));
    return o.pad(x, side(0), side(1), { value: a.number('constant_values', 0) });
  }),
  Concatenate: numpy('xs', (a) => {
    const xs = a.nodes('xs');
    const [axis] = a.axes('axis', xs[0]!.shape.length);
    return o.concat(xs, axis!);
  }),
  Stack: numpy('x', (a) => {
    const xs = a.nodes('x');
    const [axis] = a.axes('axis', xs[0]!.shape.length + 1);
    return o.concat(
      xs.map((x) => o.reshape(x, x.shape.toSpliced(axis!, 0, 1))),
      axis!,
    );
  }),

  Cast: {
    module: 'core',
    parameters: ['x'],
    compute: (a) => {
      a.only('dtype', ['float32']);
      return a.node('x');
    },
  },
  StopGradient: {
    module: 'core',
    parameters: ['variable'],
    compute: (a) => o.stopGradient(a.node('variable')),
  },
  Copy: unary((x) => x),

  Relu: nn(activation('relu')),
  Relu6: nn(activation('relu6')),
  Sigmoid: nn(activation('sigmoid')),
  Silu: nn(activation('silu')),
  Softplus: nn(activation('softplus')),
  Softsign: nn(activation('softsign')),
  Selu: nn(activation('selu')),
  HardSigmoid: nn(activation('hard_sigmoid')),
  HardSilu: nn(activation('hard_silu')),
  HardTanh: nn((x) => o.min(o.max(x, -1), 1)),
  Elu: nn((x, a) => {
    a.only('alpha', [1]);
    return activation('elu')(x);
  }),
  LeakyRelu: nn((x, a) => {
    const slope = a.number('negative_slope', 0.2);
    return slope <= 1 ? o.max(x, o.mul(x, slope)) : o.min(x, o.mul(x, slope));
  }),
  Gelu: nn((x, a) => {
    if (!a.flag('approximate', true)) return activation('gelu')(x);
    // x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))
    const inner = o.mul(o.add(x, o.mul(o.mul(o.square(x), x), 0.044715)), Math.sqrt(2 / Math.PI));
    return o.mul(o.mul(x, 0.5), o.add(1, o.tanh(inner)));
  }),
  Softmax: nn((x, a) => {
    a.only('axis', [-1, x.shape.length - 1]);
    return o.softmax(x);
  }),
  LogSoftmax: nn((x, a) => {
    a.only('axis', [-1, x.shape.length - 1]);
    return o.logSoftmax(x);
  }),

  Resize: {
    module: 'image',
    parameters: ['images'],
    compute: (a) => {
      const size = a.integers('size');
      const interpolation = a.value('interpolation') ?? 'bilinear';
      if (size?.length !== 2) a.refuse('size must be height and width');
      if (interpolation !== 'bilinear' && interpolation !== 'nearest') {
        a.refuse(`Graft interpolates "nearest" and "bilinear", got ${JSON.stringify(interpolation)}`);
      }
      a.only('antialias', [false]);
      a.only('crop_to_aspect_ratio', [false]);
      a.only('pad_to_aspect_ratio', [false]);
      a.only('data_format', ['channels_last']);
      return o.resize(a.node('images'), size as [number, number], interpolation as 'bilinear' | 'nearest');
    },
  },
  RGBToGrayscale: {
    module: 'image',
    parameters: ['images'],
    compute: (a) => {
      a.only('data_format', ['channels_last']);
      // ITU-R BT.601, with TensorFlow's digits.
      const weights = o.constant(float32([3], [0.2989, 0.587, 0.114]));
      return o.sum(o.mul(a.node('images'), weights), [-1], true);
    },
  },
};

/** Names of all operations. */
export const operationNames = Object.keys(kinds);

function kindOf(operation: string): Kind {
  return (
    lookUp(kinds, operation) ??
    fail(
      'unsupported',
      `Graft does not have the operation ${operation}; docs/formats.md lists those that it has.`,
    )
  );
}

/** x to a constant power: whole ones as products, halves by the root. */
function power(a: Arguments): Node {
  const x = a.node('x1');
  const exponent = a.value('x2');
  if (typeof exponent !== 'number' || !Number.isInteger(2 * exponent) || Math.abs(exponent) > 8) {
    return a.refuse(
      `the exponent must be a constant multiple of 0.5 up to 8, got ${JSON.stringify(exponent)}`,
    );
  }
  const whole = Math.floor(Math.abs(exponent));
  const factors = Array.from({ length: whole }, () => x);
  if (whole !== Math.abs(exponent)) factors.push(o.sqrt(x));
  const product =
    factors.length === 0 ? o.div(x, x) : factors.reduce((total, factor) => o.mul(total, factor));
  return exponent < 0 ? o.div(1, product) : product;
}

/** newshape counts the batch, which is −1 or left to be inferred. */
function reshape(a: Arguments): Node {
  const x = a.node('x');
  const wanted = a.integers('newshape') ?? a.refuse('newshape is missing');
  const size = sizeOf(x.shape.slice(1));
  const [batch, ...rest] = wanted;
  const known = sizeOf(rest.filter((dim) => dim !== -1));
  const shape = rest.map((dim) => (dim === -1 ? size / known : dim));
  if (batch !== -1 || sizeOf(shape) !== size || !shape.every(Number.isInteger)) {
    a.refuse(`cannot reshape ${describeShape(x.shape)} to (${wanted.join(', ')}) and keep the batch apart`);
  }
  return o.reshapeApart(x, [-1, ...shape]);
}

/** Indexing as NumPy has it, with constants: numbers, slices, `...` and new axes. */
function getItem(a: Arguments): Node {
  const x = a.node('x');
  const key = a.value('key');
  const given: readonly unknown[] = isRecord(key) && Array.isArray(key['list']) ? key['list'] : [key];
  const isEllipsis = (item: unknown) => isRecord(item) && item['ellipsis'] === true;
  const newAxis = (item: unknown) => item === null;
  const consumed = given.filter((item) => !isEllipsis(item) && !newAxis(item)).length;
  const whole = Array.from({ length: x.shape.length - consumed }, () => ({ slice: [null, null, null] }));
  const items = given.some(isEllipsis)
    ? given.flatMap((item) => (isEllipsis(item) ? whole : [item]))
    : [...given, ...whole];
  let axis = 0;
  let result = x;
  const shape: number[] = [];
  for (const item of items) {
    if (newAxis(item)) {
      shape.push(1);
      continue;
    }
    const dim = x.shape[axis] ?? a.refuse(`the key has more entries than ${describeShape(x.shape)} has axes`);
    if (typeof item === 'number') {
      if (axis === 0) a.refuse('the batch cannot be indexed');
      const at = item < 0 ? item + dim : item;
      if (!(Number.isInteger(at) && at >= 0 && at < dim))
        a.refuse(`index ${item} of axis ${axis} does not exist`);
      result = o.slice(result, [{ axis, start: at, end: at + 1 }]);
    } else {
      const slice =
        isRecord(item) && Array.isArray(item['slice']) ? (item['slice'] as (number | null)[]) : null;
      if (slice === null) return a.refuse(`the key ${JSON.stringify(item)} is neither a number nor a slice`);
      if (axis === 0 && slice.some((bound) => bound !== null)) a.refuse('the batch cannot be sliced');
      if (axis > 0) result = sliced(a, result, axis, slice);
      shape.push(result.shape[axis]!);
    }
    axis++;
  }
  return o.reshape(result, shape);
}

/** start:stop:step of an axis, with Python's meaning of what is left out, negative or too large. */
function sliced(a: Arguments, x: Node, axis: number, [from, to, by]: readonly (number | null)[]): Node {
  const dim = x.shape[axis]!;
  const step = by ?? 1;
  const bounds = [from, to, by].every((bound) => bound === null || Number.isInteger(bound));
  if (!bounds || step === 0) return a.refuse('slices must be whole numbers with a step other than 0');
  const clamp = (bound: number, low: number, high: number) =>
    Math.min(Math.max(bound < 0 ? bound + dim : bound, low), high);
  if (step > 0) {
    const start = from == null ? 0 : clamp(from, 0, dim);
    const end = to == null ? dim : clamp(to, 0, dim);
    if (start >= end) a.refuse(`the slice ${from}:${to}:${by} of axis ${axis} is empty`);
    return o.slice(x, [{ axis, start, end, step }]);
  }
  // What is taken from the back, in order from the front, is start, start + |step|, ... up to `last`.
  const last = from == null ? dim - 1 : clamp(from, -1, dim - 1);
  const before = to == null ? -1 : clamp(to, -1, dim - 1);
  const count = Math.ceil((last - before) / -step);
  if (!(count > 0)) a.refuse(`the slice ${from}:${to}:${by} of axis ${axis} is empty`);
  const start = last + (count - 1) * step;
  return reversed(o.slice(x, [{ axis, start, end: last + 1, step: -step }]), axis);
}

/** The positions of an axis from the last to the first. */
function reversed(x: Node, axis: number): Node {
  const dim = x.shape[axis]!;
  const parts = Array.from({ length: dim }, (_, i) =>
    o.slice(x, [{ axis, start: dim - 1 - i, end: dim - i }]),
  );
  return o.concat(parts, axis);
}

/**
 * TensorFlow's functions as Keras 2 names them: the class that Keras 3 has for it, Keras's name for each parameter that
 * is a tensor or an argument of the call (`call`), and for each that Keras 3 gives to the class (`config`).
 */
interface TensorFlowFunction {
  readonly operation: string;
  /** The function's own parameters, in order; the first is what Keras 2 calls the input. */
  readonly call: readonly string[];
  readonly config?: Readonly<Record<string, string>>;
  /** What the function does without being told, where Keras 3's class differs. */
  readonly defaults?: Readonly<Record<string, unknown>>;
  /** Parameters that must have one of these values, since Keras 3 has nothing for them. */
  readonly only?: Readonly<Record<string, readonly unknown[]>>;
}

const two = (operation: string): TensorFlowFunction => ({ operation, call: ['x', 'y'] });
const one = (operation: string, parameter = 'x'): TensorFlowFunction => ({ operation, call: [parameter] });
const reduce = (operation: string): TensorFlowFunction => ({
  operation,
  call: ['input_tensor'],
  config: { axis: 'axis', keepdims: 'keepdims' },
  defaults: { keepdims: false },
});

const tensorflow: Readonly<Record<string, TensorFlowFunction>> = {
  '__operators__.add': two('Add'),
  '__operators__.getitem': { operation: 'GetItem', call: ['tensor', 'slice_spec'] },
  'math.add': two('Add'),
  'math.subtract': two('Subtract'),
  'math.multiply': two('Multiply'),
  'math.truediv': two('TrueDivide'),
  'math.divide': two('TrueDivide'),
  'math.maximum': two('Maximum'),
  'math.minimum': two('Minimum'),
  'math.pow': two('Power'),
  'linalg.matmul': {
    operation: 'Matmul',
    call: ['a', 'b'],
    only: {
      transpose_a: [false],
      transpose_b: [false],
      adjoint_a: [false],
      adjoint_b: [false],
      a_is_sparse: [false],
      b_is_sparse: [false],
    },
  },
  'math.negative': one('Negative'),
  'math.abs': one('Absolute'),
  'math.square': one('Square'),
  'math.sqrt': one('Sqrt'),
  'math.rsqrt': one('Rsqrt'),
  'math.reciprocal': one('Reciprocal'),
  'math.exp': one('Exp'),
  'math.log': one('Log'),
  'math.sin': one('Sin'),
  'math.cos': one('Cos'),
  'math.tanh': one('Tanh'),
  'math.erf': one('Erf'),
  'math.sigmoid': one('Sigmoid'),
  'math.softplus': one('Softplus', 'features'),
  'math.reduce_mean': reduce('Mean'),
  'math.reduce_sum': reduce('Sum'),
  'math.reduce_max': reduce('Max'),
  'math.reduce_min': reduce('Min'),
  'math.reduce_variance': reduce('Var'),
  'math.reduce_std': reduce('Std'),
  'nn.bias_add': { operation: 'Add', call: ['value', 'bias'], only: { data_format: ['NHWC', 'N...C'] } },
  'nn.relu': one('Relu', 'features'),
  'nn.relu6': one('Relu6', 'features'),
  'nn.silu': { ...one('Silu', 'features'), only: { beta: [1] } },
  'nn.elu': one('Elu', 'features'),
  'nn.selu': one('Selu', 'features'),
  'nn.softsign': one('Softsign', 'features'),
  'nn.leaky_relu': {
    ...one('LeakyRelu', 'features'),
    config: { alpha: 'negative_slope' },
    defaults: { negative_slope: 0.2 },
  },
  'nn.gelu': {
    ...one('Gelu', 'features'),
    config: { approximate: 'approximate' },
    defaults: { approximate: false },
  },
  'nn.softmax': { ...one('Softmax', 'logits'), config: { axis: 'axis' }, defaults: { axis: -1 } },
  'nn.log_softmax': { ...one('LogSoftmax', 'logits'), config: { axis: 'axis' }, defaults: { axis: -1 } },
  clip_by_value: {
    ...one('Clip', 't'),
    config: { clip_value_min: 'x_min', clip_value_max: 'x_max' },
  },
  cast: { ...one('Cast'), config: { dtype: 'dtype' } },
  identity: one('Copy', 'input'),
  stop_gradient: one('StopGradient', 'input'),
  reshape: { ...one('Reshape', 'tensor'), config: { shape: 'newshape' } },
  squeeze: { ...one('Squeeze', 'input'), config: { axis: 'axis' } },
  expand_dims: { ...one('ExpandDims', 'input'), config: { axis: 'axis' } },
  transpose: { ...one('Transpose', 'a'), config: { perm: 'axes' }, only: { conjugate: [false] } },
  reverse: { ...one('Flip', 'tensor'), config: { axis: 'axis' } },
  concat: { ...one('Concatenate', 'values'), config: { axis: 'axis' } },
  stack: { ...one('Stack', 'values'), config: { axis: 'axis' }, defaults: { axis: 0 } },
  pad: {
    operation: 'Pad',
    call: ['tensor'],
    config: { paddings: 'pad_width', mode: 'mode' },
    only: { constant_values: [0] },
  },
  'image.resize': {
    ...one('Resize', 'images'),
    config: { size: 'size', method: 'interpolation', antialias: 'antialias' },
    defaults: { interpolation: 'bilinear', antialias: false },
    only: { preserve_aspect_ratio: [false] },
  },
  'image.rgb_to_grayscale': one('RGBToGrayscale', 'images'),
};

const synonyms: Readonly<Record<string, string>> = {
  add: 'math.add',
  subtract: 'math.subtract',
  multiply: 'math.multiply',
  divide: 'math.divide',
  maximum: 'math.maximum',
  minimum: 'math.minimum',
  pow: 'math.pow',
  matmul: 'linalg.matmul',
  negative: 'math.negative',
  abs: 'math.abs',
  square: 'math.square',
  sqrt: 'math.sqrt',
  exp: 'math.exp',
  tanh: 'math.tanh',
  sigmoid: 'math.sigmoid',
  reduce_mean: 'math.reduce_mean',
  reduce_sum: 'math.reduce_sum',
  reduce_max: 'math.reduce_max',
  'nn.sigmoid': 'math.sigmoid',
  'nn.tanh': 'math.tanh',
  'nn.softplus': 'math.softplus',
  'nn.swish': 'nn.silu',
};

/** Names of all functions of TensorFlow. */
export const tensorFlowNames = [...Object.keys(tensorflow), ...Object.keys(synonyms)];

/** What Keras 2 writes for a function of TensorFlow: the input, then everything else by name. */
export interface TensorFlowCall {
  readonly name: string;
  /** `math.truediv` */
  readonly symbol: string;
  readonly input: Argument;
  readonly kwargs: Readonly<Record<string, Argument>>;
}

/** The same in Keras 3's words. Throws `unsupported` for a function that Graft does not have. */
export function operationFromTensorFlow({ name, symbol, input, kwargs }: TensorFlowCall): OperationOptions {
  // What TensorFlow 1 called the same; only its resizing is another.
  const modern = symbol.startsWith('compat.v1.image') ? symbol : symbol.replace(/^compat\.v1\./, '');
  const canonical = lookUp(synonyms, modern) ?? modern;
  const known = lookUp(tensorflow, canonical);
  if (known === undefined) {
    fail(
      'unsupported',
      `Layer ${name} calls tf.${symbol}, which Graft does not have; docs/formats.md lists the functions that it has.`,
    );
  }
  const { operation, call, config: renamed = {}, defaults = {}, only = {} } = known;
  const args: Argument[] = [input];
  const config: Record<string, unknown> = { ...defaults };
  for (const [key, value] of Object.entries(kwargs)) {
    const position = call.indexOf(key);
    const option = lookUp(renamed, key);
    if (position > 0) args[position] = value;
    else if (value === null || key === 'name') continue;
    else if (option !== undefined) config[option] = plain(value);
    else if (!lookUp(only, key)?.includes(plain(value))) {
      fail(
        'unsupported',
        `Layer ${name} (tf.${symbol}): Graft does not have ${key} = ${JSON.stringify(plain(value))}.`,
      );
    }
  }
  return { name, operation, config, args };
}

/** An argument as Keras's configs have it. */
function plain(value: Argument): unknown {
  return listOf(value) ?? value;
}
