/** Between models and the JSON in which Keras describes them (legacy `.h5` and Keras 3). */
import { fail } from '../core/errors.ts';
import { isRecord } from '../core/records.ts';
import { layerFromKeras } from '../layers/index.ts';
import { InputLayer } from '../layers/input.ts';
import type { Layer, LayerCall, SymbolicTensor } from '../layers/layer.ts';
import { type Argument, Operation, operationFromTensorFlow, operationNames } from '../layers/operations.ts';
import { Network } from './network.ts';

export interface KerasLayerConfig {
  /** Where Keras 3 looks for the class; Keras 2 does without. */
  readonly module?: string;
  readonly registered_name?: string | null;
  readonly class_name: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly name?: string;
  readonly inbound_nodes?: readonly unknown[];
  /** What only Graft writes and reads; Keras passes over it. `keras: 2`: its calls mean what they mean in Keras 2. */
  readonly graft?: Readonly<Record<string, unknown>>;
}

/** Makes models of these parts; `training/` gives the constructor of models that train. */
export type MakeNetwork = (
  className: 'Functional' | 'Sequential',
  parts: { inputs: SymbolicTensor; outputs: SymbolicTensor; name: string },
) => Network;

/** What Keras writes as `model_config`. */
export function networkConfig(network: Network): KerasLayerConfig {
  const base = { name: network.name, trainable: network.trainable };
  if (network.className === 'Sequential') {
    const layers = [network.input.layer, ...network.layers].map(plainConfig);
    return {
      module: 'keras',
      class_name: 'Sequential',
      registered_name: null,
      config: { ...base, layers, build_input_shape: [null, ...network.input.shape] },
    };
  }
  const layers = network.layers.map((layer) => {
    const calls = network.steps.filter(
      ({ output }) => output.layer === layer && !(layer instanceof InputLayer),
    );
    return {
      ...plainConfig(layer),
      name: layer.name,
      inbound_nodes: calls.map((call) => inboundNode(network, layer, call)),
      ...(calls.some(({ training }) => training === false) ? { graft: { keras: 2 } } : {}),
    };
  });
  return {
    module: 'keras.src.models.functional',
    class_name: 'Functional',
    registered_name: 'Functional',
    config: {
      ...base,
      layers,
      input_layers: [network.input.layer.name, 0, 0],
      output_layers: history(network, network.result),
    },
  };
}

function plainConfig(layer: Layer): KerasLayerConfig {
  if (layer instanceof Network) return networkConfig(layer);
  const { name, trainable } = layer;
  if (layer instanceof Operation) {
    const { className, kerasModule } = layer;
    return {
      module: kerasModule,
      class_name: className,
      config: { name, ...layer.config() },
      registered_name: className,
    };
  }
  const base = layer instanceof InputLayer ? { name } : { name, trainable };
  return {
    module: layer.kerasModule,
    class_name: layer.className,
    config: { ...base, dtype: 'float32', ...layer.config() },
    registered_name: layer.kerasModule === 'keras.layers' ? null : layer.className,
  };
}

/** [layer, which of its applications in this model, which output] */
function history(network: Network, tensor: SymbolicTensor): [string, number, number] {
  const own = network.steps.filter(({ output }) => output.layer === tensor.layer);
  const index = own.findIndex(({ output }) => output === tensor);
  return [tensor.layer.name, Math.max(index, 0), 0];
}

function inboundNode(network: Network, layer: Layer, { inputs, training }: LayerCall): unknown {
  const tensors = inputs.map((tensor) => ({
    class_name: '__keras_tensor__',
    config: { shape: [null, ...tensor.shape], dtype: 'float32', keras_history: history(network, tensor) },
  }));
  if (layer instanceof Operation) {
    const { args, kwargs } = layer;
    const written = Object.entries(kwargs).map(([key, value]) => [key, writtenArgument(value, tensors)]);
    return {
      args: args.map((value) => writtenArgument(value, tensors)),
      kwargs: Object.fromEntries(written),
    };
  }
  const merges = ['Add', 'Multiply', 'Concatenate'].includes(layer.className);
  return { args: merges ? [tensors] : tensors, kwargs: training === false ? { training } : {} };
}

function writtenArgument(value: Argument, tensors: readonly unknown[]): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if ('input' in value) return tensors[value.input];
  if ('list' in value) return value.list.map((item) => writtenArgument(item, tensors));
  if ('array' in value) return { class_name: '__tensor__', config: { value: value.array, dtype: 'float32' } };
  if ('ellipsis' in value) return { class_name: '__ellipsis__', config: {} };
  const [start, stop, step] = value.slice;
  return { class_name: '__slice__', config: { start, stop, step } };
}

/** How a description is to be read. */
export interface ReadingOptions {
  /** The version of Keras whose meanings count where they differ: 2 for files of Keras 1 and 2. Defaults to 3. */
  readonly keras?: 2 | 3;
  /** Without the batch: what the model is fed, where the description leaves dimensions of its input open. */
  readonly inputShape?: readonly number[];
}

interface Reading extends ReadingOptions {
  readonly keras: 2 | 3;
  readonly make: MakeNetwork;
}

/**
 * Rebuilds a model from Keras's description, without weights. Throws `unsupported` for layers that Graft does not
 * have, by name, `file` for what describes no model, and `argument` if the description has another input shape.
 */
export function networkFromConfig(
  description: unknown,
  make: MakeNetwork,
  { keras = 3, ...options }: ReadingOptions = {},
): Network {
  return readNetwork(layerConfig(description), { ...options, keras, make });
}

function readNetwork({ class_name, config }: KerasLayerConfig, reading: Reading): Network {
  const name = String(config['name'] ?? class_name);
  if (!modelClasses.includes(class_name)) {
    fail(
      'unsupported',
      `Model ${name} is of class ${class_name}, a subclass of keras.Model: Python code, which its file does not hold. ` +
        'Graft reads Sequential and Functional models. In Python, build it of layers, keras.Model(inputs, outputs), ' +
        "and save that, or write ONNX: model.export('model.onnx', format='onnx').",
    );
  }
  if (!Array.isArray(config['layers'])) fail('file', `The config of model ${name} lists no layers.`);
  if (config['layers'].length > LAYER_LIMIT) {
    fail(
      'unsupported',
      `Model ${name} has ${config['layers'].length} layers; Graft reads up to ${LAYER_LIMIT}.`,
    );
  }
  const layers = config['layers'].map(layerConfig);
  if (class_name === 'Sequential') return sequentialFromConfig(name, config, layers, reading);
  return functionalFromConfig(name, config, layers, reading);
}

/** What Keras calls models that are described by their layers. */
const modelClasses: readonly string[] = ['Sequential', 'Functional', 'Model'];

/** Layers of one model; the largest of keras.applications has 816. */
const LAYER_LIMIT = 10_000;

function layerConfig(value: unknown): KerasLayerConfig {
  if (isRecord(value) && typeof value['class_name'] === 'string') {
    const { class_name, config, inbound_nodes: nodes, module, graft, name } = value;
    // Keras up to 2.2.2 wrote only the list of layers of a Sequential model.
    const known = Array.isArray(config) && class_name === 'Sequential';
    const record = known ? { name: name ?? 'sequential', layers: config as unknown[] } : config;
    if (isRecord(record)) {
      return {
        class_name,
        config: record,
        ...(typeof module === 'string' ? { module } : {}),
        ...(Array.isArray(nodes) ? { inbound_nodes: nodes } : {}),
        ...(isRecord(graft) ? { graft } : {}),
      };
    }
  }
  const text = JSON.stringify(value)?.slice(0, 80);
  return fail('file', `Expected a layer as Keras describes it, with class_name and config; got ${text}.`);
}

const isNetwork = ({ class_name }: KerasLayerConfig) => modelClasses.includes(class_name);

/**
 * True for arithmetic between layers. Keras 3 knows it by its module, or, in `.h5` files, which leave modules out, by a
 * config without what every layer has (there is a layer Add too); Keras 2 by two classes.
 */
function isOperation({ module, class_name, config }: KerasLayerConfig): boolean {
  if (class_name === 'TFOpLambda' || class_name === 'SlicingOpLambda') return true;
  if (module !== undefined) return /^keras\.(src\.)?ops\b/.test(module);
  return operationNames.includes(class_name) && !('trainable' in config);
}

/** Makes a layer. `shape` is what comes in: a model inside a model may leave the size of its images open. */
function readLayer(entry: KerasLayerConfig, shape: readonly number[] | undefined, reading: Reading): Layer {
  if (isNetwork(entry)) {
    const { inputShape: _, ...inside } = reading;
    return readNetwork(entry, shape === undefined ? inside : { ...inside, inputShape: shape });
  }
  const config = entry.class_name === 'InputLayer' ? withInputShape(entry.config, shape) : entry.config;
  return layerFromKeras(entry.class_name, config, reading.keras);
}

/** Fills the open dimensions of an input. Throws `argument` if one that is known would be another. */
function withInputShape(
  config: KerasLayerConfig['config'],
  shape: readonly number[] | undefined,
): KerasLayerConfig['config'] {
  const key = ['batch_shape', 'batch_input_shape'].find((name) => Array.isArray(config[name]));
  if (shape === undefined || key === undefined) return config;
  return { ...config, [key]: filled(String(config['name']), config[key] as unknown[], shape) };
}

function filled(name: string, batchShape: readonly unknown[], shape: readonly number[]): unknown[] {
  const [batch, ...own] = batchShape;
  const fits = own.length === shape.length && own.every((dim, i) => dim === null || dim === shape[i]);
  if (!fits) {
    const expected = own.map((dim) => dim ?? 'any').join(', ');
    fail('argument', `Input ${name} has shape (${expected}), got inputShape (${shape.join(', ')}).`);
  }
  return [batch, ...shape];
}

function sequentialFromConfig(
  name: string,
  config: KerasLayerConfig['config'],
  entries: readonly KerasLayerConfig[],
  reading: Reading,
): Network {
  let current: SymbolicTensor | null = null;
  let first: SymbolicTensor | null = null;
  for (const entry of entries) {
    if (current === null) {
      // Keras 2 gives the shape to the first layer instead of writing an InputLayer.
      const shape = (entry.config['batch_input_shape'] ?? config['build_input_shape']) as
        | unknown[]
        | undefined;
      const given = reading.inputShape;
      const layer = readLayer(entry, given, reading);
      if (layer instanceof InputLayer) current = layer.output;
      else if (Array.isArray(shape)) {
        const known = given ? filled(`${layer.name}_input`, shape, given) : shape;
        current = new InputLayer({ name: `${layer.name}_input`, shape: known.slice(1) as number[] }).output;
      } else if (layer instanceof Network) {
        current = new InputLayer({ name: `${layer.name}_input`, shape: layer.input.shape }).output;
      } else fail('file', `Sequential model ${name} does not say the shape of its input.`);
      first = current;
      if (!(layer instanceof InputLayer)) current = layer.apply(current);
    } else current = readLayer(entry, current.shape, reading).apply(current);
  }
  if (first === null || current === null) fail('file', `Sequential model ${name} has no layers.`);
  return reading.make('Sequential', { inputs: first, outputs: current, name });
}

function functionalFromConfig(
  name: string,
  config: KerasLayerConfig['config'],
  entries: readonly KerasLayerConfig[],
  reading: Reading,
): Network {
  const parts = entries.map((entry): Part => {
    const own = String(entry.config['name'] ?? entry.class_name);
    const keras = entry.graft?.['keras'] === 2 ? 2 : reading.keras;
    return {
      name: own,
      keras,
      nested: isNetwork(entry),
      isInput: entry.class_name === 'InputLayer',
      nodes: (entry.inbound_nodes ?? []).map((node) => application(node, own)),
      make: (inputs, node) =>
        isOperation(entry)
          ? operationOf(entry, node)
          : readLayer(entry, inputs[0]?.shape ?? reading.inputShape, reading),
      isOperation: isOperation(entry),
    };
  });
  const [from, to] = [endOf(name, config, 'input_layers'), endOf(name, config, 'output_layers')];
  const find = connect(name, parts, [from, to]);
  const nothing = (key: string) => fail('file', `The ${key} of model ${name} name no layer of it.`);
  const network = reading.make('Functional', {
    inputs: find(from) ?? nothing('input_layers'),
    outputs: find(to) ?? nothing('output_layers'),
    name,
  });
  network.markTrainable(config['trainable'] !== false);
  return network;
}

/** A layer, and what each of its applications takes. */
interface Part {
  readonly name: string;
  /** Whose meaning the arguments of its calls have. */
  readonly keras: 2 | 3;
  readonly nested: boolean;
  readonly isInput: boolean;
  readonly isOperation: boolean;
  readonly nodes: readonly Application[];
  /** Makes the layer when what it takes is there. */
  make(inputs: readonly SymbolicTensor[], node: Application): Layer;
}

/** Applies all layers; returns what finds their outputs. */
function connect(
  name: string,
  parts: readonly Part[],
  ends: readonly Reference[],
): (reference: Reference) => SymbolicTensor | undefined {
  const outputs = new Map<string, SymbolicTensor[]>(parts.map((part) => [part.name, []]));
  const first = firstCalls(parts, ends);
  const find = ({ layer, call }: Reference) => outputs.get(layer)?.[call - first(layer)];
  const nothing: Application = { inputs: [], args: [], kwargs: {}, training: null };
  for (const part of parts) {
    if (part.isInput) outputs.set(part.name, [(part.make([], nothing) as InputLayer).output]);
  }
  // A layer can be applied once everything that it takes has been; files list layers in an order that works,
  // but Keras does not promise it.
  let waiting = parts.map((part) => ({ part, nodes: [...part.nodes], layer: null as Layer | null }));
  while (waiting.length > 0) {
    let progressed = false;
    for (const each of waiting) {
      const { part, nodes } = each;
      while (nodes.length > 0) {
        const [node] = nodes as [Application];
        const inputs = node.inputs.map(find);
        if (inputs.some((input) => input === undefined)) break;
        const tensors = inputs as SymbolicTensor[];
        if (part.isOperation && each.layer !== null) {
          fail(
            'unsupported',
            `Operation ${part.name} is applied twice; Graft reads those that are applied once.`,
          );
        }
        each.layer ??= part.make(tensors, node);
        outputs.get(part.name)!.push(applied(each.layer, tensors, node, part.keras));
        nodes.shift();
        progressed = true;
      }
    }
    waiting = waiting.filter(({ nodes }) => nodes.length > 0);
    if (waiting.length > 0 && !progressed) {
      const names = waiting.map(({ part }) => part.name).join(', ');
      fail(
        'file',
        `The layers of model ${name} do not connect: ${names} wait for each other or for unknown layers.`,
      );
    }
  }
  return find;
}

/**
 * Applies a layer as one call in a file did. `training=False` keeps a call of Keras 2 in inference mode for ever, and
 * what is inside a model that is called so; Keras 3's `fit` and `predict` overrule what a call said.
 */
function applied(
  layer: Layer,
  inputs: readonly SymbolicTensor[],
  { training, kwargs }: Application,
  keras: 2 | 3,
): SymbolicTensor {
  if (!(layer instanceof Operation)) {
    for (const [key, value] of Object.entries(kwargs)) {
      if (value === null || value === false) continue;
      fail('unsupported', `Layer ${layer.name} is called with ${key}, which Graft does not have.`);
    }
  }
  if (keras === 3 || training === null || !layer.dependsOnTraining(inputs)) return layer.apply(inputs);
  if (training) {
    fail(
      'unsupported',
      `Layer ${layer.name} (${layer.className}) is called with training=True, so that it does in predictions what it ` +
        'does in training; Graft does not have that.',
    );
  }
  return layer.apply(inputs, { training: false });
}

function operationOf({ class_name, config }: KerasLayerConfig, { args, kwargs }: Application): Operation {
  const { name: given, ...own } = config;
  const name = String(given ?? class_name);
  if (class_name !== 'TFOpLambda' && class_name !== 'SlicingOpLambda') {
    return new Operation({ name, operation: class_name, config: own, args, kwargs });
  }
  const symbol = String(config['function']);
  return new Operation(operationFromTensorFlow({ name, symbol, input: args[0] ?? null, kwargs }));
}

/** Keras 2 counts the making of a nested model as its application 0, so that it is used from 1 on. */
function firstCalls(parts: readonly Part[], ends: readonly Reference[]): (layer: string) => number {
  const last = new Map<string, number>();
  const used = parts.flatMap(({ nodes }) => nodes.flatMap(({ inputs }) => inputs));
  for (const { layer, call } of [...used, ...ends]) {
    last.set(layer, Math.max(call, last.get(layer) ?? 0));
  }
  const shifted = new Set(
    parts
      .filter(({ nested, name, nodes }) => nested && last.get(name) === nodes.length)
      .map(({ name }) => name),
  );
  return (layer) => (shifted.has(layer) ? 1 : 0);
}

/** The one input or output of a model. */
function endOf(name: string, config: KerasLayerConfig['config'], key: string): Reference {
  const given = (config[key] ?? []) as readonly unknown[];
  const list = Array.isArray(given[0]) ? (given as readonly unknown[][]) : [given as unknown[]];
  if (list.length !== 1)
    fail('unsupported', `Model ${name} has ${list.length} ${key}; Graft reads models with one.`);
  return { layer: String(list[0]![0]), call: Number(list[0]![1] ?? 0) };
}

interface Reference {
  readonly layer: string;
  readonly call: number;
}

/** One application of a layer: its arguments, in which a tensor is a place among the inputs. */
interface Application {
  readonly inputs: readonly Reference[];
  readonly args: readonly Argument[];
  /** Without `training`, `mask` and Keras 2's `name`. */
  readonly kwargs: Readonly<Record<string, Argument>>;
  /** What the call said about it. */
  readonly training: boolean | null;
}

/** Reads Keras 3's `{ args, kwargs }` or Keras 2's lists: [["conv1", 0, 0, {}], ...], in older files without the {}. */
function application(node: unknown, layer: string): Application {
  const inputs: Reference[] = [];
  const read = (value: unknown): Argument => argument(value, inputs, layer);
  let args: Argument[];
  let named: unknown;
  if (Array.isArray(node)) {
    const one = typeof node[0] === 'string';
    const tensors = (one ? [node] : node) as unknown[][];
    named = tensors[0]?.[3];
    const values = tensors.map((tensor) => read(Array.isArray(tensor) ? tensor.slice(0, 3) : tensor));
    // A list of one tensor is that tensor, except where a function of TensorFlow takes a list.
    args = values.length === 1 ? values : [{ list: values }];
  } else {
    const { args: given, kwargs } = isRecord(node) ? node : {};
    args = Array.isArray(given) ? given.map(read) : [];
    named = kwargs;
  }
  const { training, mask, name: _, ...others } = isRecord(named) ? named : {};
  const kwargs = Object.fromEntries(Object.entries(others).map(([key, value]) => [key, read(value)]));
  if (inputs.length === 0) fail('file', `Layer ${layer} is applied to nothing that Graft can read.`);
  return {
    inputs,
    args,
    kwargs: mask === undefined || mask === null ? kwargs : { ...kwargs, mask: read(mask) },
    training: typeof training === 'boolean' ? training : null,
  };
}

/** One argument; tensors are added to `inputs`. */
function argument(value: unknown, inputs: Reference[], layer: string): Argument {
  const tensor = (name: unknown, call: unknown): Argument => {
    inputs.push({ layer: String(name), call: Number(call) });
    return { input: inputs.length - 1 };
  };
  const read = (each: unknown) => argument(each, inputs, layer);
  if (
    value === null ||
    typeof value === 'number' ||
    typeof value === 'string' ||
    typeof value === 'boolean'
  ) {
    return value;
  }
  if (Array.isArray(value)) {
    const [name, call] = value as unknown[];
    if (name === '_CONSTANT_VALUE') return constant(value[2]);
    if (typeof name === 'string' && typeof call === 'number') return tensor(name, call);
    return { list: value.map(read) };
  }
  if (isRecord(value)) {
    const { class_name, config } = value;
    const own = isRecord(config) ? config : {};
    const history = own['keras_history'];
    if (class_name === '__keras_tensor__' && Array.isArray(history)) return tensor(history[0], history[1]);
    if (class_name === '__tensor__' || class_name === '__numpy__') return constant(own['value']);
    if (class_name === '__ellipsis__') return { ellipsis: true };
    if (class_name === 'TensorShape') return { list: (value['items'] as unknown[]).map(read) };
    const slice = class_name === '__slice__' ? own : value;
    if ('start' in slice && 'stop' in slice) {
      const bounds = ['start', 'stop', 'step'].map((key) => slice[key] ?? null);
      if (bounds.every((bound): bound is number | null => bound === null || typeof bound === 'number')) {
        return { slice: bounds as [number | null, number | null, number | null] };
      }
    }
  }
  const text = JSON.stringify(value)?.slice(0, 80);
  return fail('unsupported', `Layer ${layer} is called with ${text}, which Graft does not have.`);
}

function constant(value: unknown): Argument {
  return typeof value === 'number' ? value : { array: value };
}
