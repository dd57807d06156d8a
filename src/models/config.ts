/** Between models and the JSON in which Keras describes them (legacy `.h5` and Keras 3). */
import { fail } from '../core/errors.ts';
import { isRecord } from '../core/records.ts';
import { layerFromKeras } from '../layers/index.ts';
import { InputLayer } from '../layers/input.ts';
import type { Layer, SymbolicTensor } from '../layers/layer.ts';
import { Network } from './network.ts';

export interface KerasLayerConfig {
  /** Where Keras 3 looks for the class; Keras 2 does without. */
  readonly module?: string;
  readonly registered_name?: string | null;
  readonly class_name: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly name?: string;
  readonly inbound_nodes?: readonly unknown[];
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
  const layers = network.layers.map((layer) => ({
    ...plainConfig(layer),
    name: layer.name,
    inbound_nodes: network.steps
      .filter(({ output }) => output.layer === layer && !(layer instanceof InputLayer))
      .map(({ inputs }) => inboundNode(network, layer, inputs)),
  }));
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

function inboundNode(network: Network, layer: Layer, inputs: readonly SymbolicTensor[]): unknown {
  const tensors = inputs.map((tensor) => ({
    class_name: '__keras_tensor__',
    config: { shape: [null, ...tensor.shape], dtype: 'float32', keras_history: history(network, tensor) },
  }));
  const merges = ['Add', 'Multiply', 'Concatenate'].includes(layer.className);
  return { args: merges ? [tensors] : tensors, kwargs: {} };
}

/**
 * Rebuilds a model from Keras's description, without weights. Throws `unsupported` for layers that Graft does not
 * have, by name, and `file` for what describes no model.
 */
export function networkFromConfig(description: unknown, make: MakeNetwork): Network {
  const { class_name, config } = layerConfig(description);
  const name = String(config['name'] ?? class_name);
  if (!Array.isArray(config['layers'])) fail('file', `The config of model ${name} lists no layers.`);
  if (config['layers'].length > LAYER_LIMIT) {
    fail(
      'unsupported',
      `Model ${name} has ${config['layers'].length} layers; Graft reads up to ${LAYER_LIMIT}.`,
    );
  }
  const layers = config['layers'].map(layerConfig);
  if (class_name === 'Sequential') return sequentialFromConfig(name, config, layers, make);
  if (class_name === 'Functional' || class_name === 'Model')
    return functionalFromConfig(name, config, layers, make);
  return fail(
    'unsupported',
    `Model ${name} is of class ${class_name}; Graft reads Sequential and Functional models.`,
  );
}

/** Layers of one model; the largest of keras.applications has 816. */
const LAYER_LIMIT = 10_000;

function layerConfig(value: unknown): KerasLayerConfig {
  if (isRecord(value) && typeof value['class_name'] === 'string' && isRecord(value['config'])) {
    const { class_name, config, inbound_nodes: nodes } = value;
    return { class_name, config, ...(Array.isArray(nodes) ? { inbound_nodes: nodes } : {}) };
  }
  const text = JSON.stringify(value)?.slice(0, 80);
  return fail('file', `Expected a layer as Keras describes it, with class_name and config; got ${text}.`);
}

function readLayer(entry: KerasLayerConfig, make: MakeNetwork): Layer {
  const nested = ['Functional', 'Model', 'Sequential'].includes(entry.class_name);
  return nested ? networkFromConfig(entry, make) : layerFromKeras(entry.class_name, entry.config);
}

function sequentialFromConfig(
  name: string,
  config: KerasLayerConfig['config'],
  entries: readonly KerasLayerConfig[],
  make: MakeNetwork,
): Network {
  let current: SymbolicTensor | null = null;
  let first: SymbolicTensor | null = null;
  for (const entry of entries) {
    const layer = readLayer(entry, make);
    if (current === null) {
      // Keras 2 gives the shape to the first layer instead of writing an InputLayer.
      const shape = (entry.config['batch_input_shape'] ?? config['build_input_shape']) as
        | number[]
        | undefined;
      if (layer instanceof InputLayer) current = layer.output;
      else if (shape) current = new InputLayer({ name: `${layer.name}_input`, shape: shape.slice(1) }).output;
      else fail('file', `Sequential model ${name} does not say the shape of its input.`);
      first = current;
      if (layer instanceof InputLayer) continue;
    }
    current = layer.apply(current);
  }
  if (first === null || current === null) fail('file', `Sequential model ${name} has no layers.`);
  return make('Sequential', { inputs: first, outputs: current, name });
}

function functionalFromConfig(
  name: string,
  config: KerasLayerConfig['config'],
  entries: readonly KerasLayerConfig[],
  make: MakeNetwork,
): Network {
  const parts = entries.map((entry): Part => {
    const layer = readLayer(entry, make);
    return { layer, nodes: (entry.inbound_nodes ?? []).map((node) => references(node, layer.name)) };
  });
  const [from, to] = [endOf(name, config, 'input_layers'), endOf(name, config, 'output_layers')];
  const find = connect(name, parts, [from, to]);
  const nothing = (key: string) => fail('file', `The ${key} of model ${name} name no layer of it.`);
  const network = make('Functional', {
    inputs: find(from) ?? nothing('input_layers'),
    outputs: find(to) ?? nothing('output_layers'),
    name,
  });
  network.markTrainable(config['trainable'] !== false);
  return network;
}

/** A layer, and what each of its applications takes. */
interface Part {
  readonly layer: Layer;
  readonly nodes: readonly (readonly Reference[])[];
}

/** Applies all layers; returns what finds their outputs. */
function connect(
  name: string,
  parts: readonly Part[],
  ends: readonly Reference[],
): (reference: Reference) => SymbolicTensor | undefined {
  const outputs = new Map<string, SymbolicTensor[]>();
  const first = firstCalls(parts, ends);
  const find = ({ layer, call }: Reference) => outputs.get(layer)?.[call - first(layer)];
  for (const { layer } of parts) outputs.set(layer.name, layer instanceof InputLayer ? [layer.output] : []);
  // A layer can be applied once everything that it takes has been; files list layers in an order that works,
  // but Keras does not promise it.
  let waiting = parts.map(({ layer, nodes }) => ({ layer, nodes: [...nodes] }));
  while (waiting.length > 0) {
    let progressed = false;
    for (const { layer, nodes } of waiting) {
      while (nodes.length > 0) {
        const inputs = nodes[0]!.map(find);
        if (inputs.some((input) => input === undefined)) break;
        outputs.get(layer.name)!.push(layer.apply(inputs as SymbolicTensor[]));
        nodes.shift();
        progressed = true;
      }
    }
    waiting = waiting.filter(({ nodes }) => nodes.length > 0);
    if (waiting.length > 0 && !progressed) {
      const names = waiting.map(({ layer }) => layer.name).join(', ');
      fail(
        'file',
        `The layers of model ${name} do not connect: ${names} wait for each other or for unknown layers.`,
      );
    }
  }
  return find;
}

/** Keras 2 counts the making of a nested model as its application 0, so that it is used from 1 on. */
function firstCalls(parts: readonly Part[], ends: readonly Reference[]): (layer: string) => number {
  const last = new Map<string, number>();
  for (const { layer, call } of [...parts.flatMap(({ nodes }) => nodes.flat()), ...ends]) {
    last.set(layer, Math.max(call, last.get(layer) ?? 0));
  }
  const shifted = new Set(
    parts
      .filter(({ layer, nodes }) => layer instanceof Network && last.get(layer.name) === nodes.length)
      .map(({ layer }) => layer.name),
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

/** The tensors that one application takes, in Keras 3's or Keras 2's notation. */
function references(node: unknown, layer: string): Reference[] {
  const found: Reference[] = [];
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) {
      // Keras 2: ["conv1", 0, 0, {}]
      if (typeof value[0] === 'string' && typeof value[1] === 'number') {
        found.push({ layer: value[0], call: value[1] });
      } else value.forEach(visit);
    } else if (typeof value === 'object' && value !== null) {
      const { class_name, config } = value as {
        class_name?: string;
        config?: { keras_history?: [string, number] };
      };
      if (class_name === '__keras_tensor__' && config?.keras_history) {
        found.push({ layer: config.keras_history[0], call: config.keras_history[1] });
      }
    }
  };
  visit(Array.isArray(node) ? node : (node as { args?: unknown }).args);
  if (found.length === 0) fail('file', `Layer ${layer} is applied to nothing that Graft can read.`);
  return found;
}
