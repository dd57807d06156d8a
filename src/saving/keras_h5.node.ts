/**
 * Reading and writing Keras's legacy `.h5` files. It owns where things lie in the file; what they mean and in
 * which order they come is told in `keras_h5.ts`.
 */
import { fail, messageOf } from '../core/errors.ts';
import { parseStrictly } from '../core/json.ts';
import { readHdf5, writeHdf5 } from './hdf5_files.node.ts';
import { Hdf5Error } from './hdf5_library.node.ts';
import type { Hdf5Reader } from './hdf5_reader.node.ts';
import { join } from './hdf5_slices.node.ts';
import { ATTRIBUTE_LIMIT, type Hdf5Writer } from './hdf5_writer.node.ts';
import type { KerasH5, LayerWeights } from './keras_h5.ts';
import type { NamedTensor } from './tensors.ts';
import { hasKerasGroups } from './weights_h5.node.ts';

export type { ExtraState, KerasH5, LayerWeights } from './keras_h5.ts';

export interface ReadKerasH5Options {
  /** Whether to read how the model was trained and the optimizer's variables, often larger than the weights. Default true. */
  readonly training?: boolean;
  /** Layers whose weights are read; the others come back with no weights. Default: all. */
  readonly layers?: (layer: string) => boolean;
}

const WEIGHTS = '/model_weights';
const OPTIMIZER = '/optimizer_weights';
const TOP_LEVEL = 'top_level_model_weights';
const EXTRA = '/graft';
/** Longest name that is written, in UTF-16 units: a piece of a list must hold at least one of 3 bytes a unit. */
const NAME_LIMIT = 16_000;

/**
 * Reads a legacy Keras file: a whole model or weights alone. Values are float32 as stored; float64 is narrowed.
 *
 * Throws `file`, with the path and what was expected, when the file is missing, damaged, of another format, or
 * declares more than it can hold.
 */
export async function readKerasH5(path: string, options: ReadKerasH5Options = {}): Promise<KerasH5> {
  return await readHdf5(path, (file) => readAll(file, options));
}

/** True if a file has the legacy layout. */
export function isLegacy(file: Hdf5Reader): boolean {
  return readNames(file, rootOf(file), 'layer_names') !== null;
}

function rootOf(file: Hdf5Reader): string {
  return file.kindOf(WEIGHTS) === 'group' ? WEIGHTS : '/';
}

/** The layers of a file with their weights. */
export function readLayers(
  file: Hdf5Reader,
  wanted: (layer: string) => boolean = () => true,
): LayerWeights[] {
  const root = rootOf(file);
  const names = readNames(file, root, 'layer_names');
  if (names === null) throw new Hdf5Error(noLayers(file, root));
  return names.map((layer) => ({
    layer,
    weights: wanted(layer) ? readTensors(file, join(root, layer), 'weight_names') : [],
  }));
}

function readAll(file: Hdf5Reader, options: ReadKerasH5Options): KerasH5 {
  const root = rootOf(file);
  const layers = readLayers(file, options.layers);
  const topLevel = file.kindOf(join(root, TOP_LEVEL)) ? readTensors(file, join(root, TOP_LEVEL)) : [];
  const hasOptimizer = options.training !== false && file.kindOf(OPTIMIZER) === 'group';
  return {
    modelConfig: readJsonText(file, '/', 'model_config'),
    trainingConfig: options.training === false ? null : readJsonText(file, '/', 'training_config'),
    kerasVersion: file.attributeText(root, 'keras_version') ?? file.attributeText('/', 'keras_version'),
    backend: file.attributeText(root, 'backend') ?? file.attributeText('/', 'backend'),
    layers,
    topLevel,
    optimizer: hasOptimizer ? readTensors(file, OPTIMIZER) : null,
    extra: file.kindOf(EXTRA)
      ? { json: readJsonText(file, EXTRA, 'state'), tensors: readTensors(file, EXTRA) }
      : null,
  };
}

function noLayers(file: Hdf5Reader, root: string): string {
  if (hasKerasGroups(file)) {
    return 'it has the layout of Keras 3 ".weights.h5", expected a legacy .h5 (model.save("name.h5"))';
  }
  return `it has no attribute "layer_names" on "${root}", which every Keras .h5 has`;
}

function readTensors(file: Hdf5Reader, group: string, list = 'weight_names'): NamedTensor[] {
  if (file.kindOf(group) !== 'group') throw new Hdf5Error(`there is no group "${group}"`);
  const names = readNames(file, group, list);
  if (names === null) throw new Hdf5Error(`the group "${group}" has no attribute "${list}"`);
  return names.map((name) => ({ name, tensor: file.dataset(join(group, name)) }));
}

/** A list attribute, whole or in the numbered pieces that Keras cuts a long one into; null if it is not there. */
function readNames(file: Hdf5Reader, group: string, list: string): string[] | null {
  const whole = file.texts(group, list);
  if (whole) return whole;
  const names: string[] = [];
  for (let piece = 0; ; piece++) {
    const part = file.texts(group, `${list}${piece}`);
    if (part === null) return piece === 0 ? null : names;
    names.push(...part);
  }
}

function readJsonText(file: Hdf5Reader, path: string, name: string): unknown {
  const text = file.attributeText(path, name);
  if (text === null) return null;
  try {
    return parseStrictly(text);
  } catch (error) {
    throw new Hdf5Error(`the attribute "${name}" is not valid JSON: ${messageOf(error)}`);
  }
}

/**
 * Writes a legacy Keras file, atomically: a whole model, or weights alone when `modelConfig` is null (then the
 * optimizer, training configuration and extra state must be null too).
 *
 * The caller orders layers, weights and optimizer variables as the head of this module says. float16 values are
 * widened to float32. Throws `argument` for names that a file cannot hold and `file` when writing fails.
 */
export async function writeKerasH5(path: string, contents: KerasH5): Promise<void> {
  checkContents(contents);
  await writeHdf5(path, (file) => writeAll(file, contents));
}

function writeAll(file: Hdf5Writer, contents: KerasH5): void {
  const root = contents.modelConfig === null ? '/' : WEIGHTS;
  if (root === WEIGHTS) {
    file.group(WEIGHTS);
    writeVersions(file, '/', contents);
    file.text('/', 'model_config', asciiJson(contents.modelConfig));
    if (contents.trainingConfig !== null) {
      file.text('/', 'training_config', asciiJson(contents.trainingConfig));
    }
  }
  writeVersions(file, root, contents);
  const names = contents.layers.map((layer) => layer.layer);
  writeNames(file, root, 'layer_names', names);
  // Sorted as Keras sorts: the group of `conv` then exists before `conv/depthwise` is made inside it.
  const sorted = [...contents.layers].sort((a, b) => (a.layer < b.layer ? -1 : 1));
  for (const { layer, weights } of sorted) writeTensors(file, join(root, layer), weights);
  writeTensors(file, join(root, TOP_LEVEL), contents.topLevel ?? []);
  if (contents.optimizer !== null) writeTensors(file, OPTIMIZER, contents.optimizer);
  if (contents.extra) {
    writeTensors(file, EXTRA, contents.extra.tensors);
    file.text(EXTRA, 'state', asciiJson(contents.extra.json));
  }
}

function writeVersions(file: Hdf5Writer, path: string, contents: KerasH5): void {
  file.text(path, 'keras_version', contents.kerasVersion ?? '3.0.0');
  file.text(path, 'backend', contents.backend ?? 'tensorflow');
}

function writeTensors(file: Hdf5Writer, group: string, tensors: readonly NamedTensor[]): void {
  file.group(group);
  writeNames(file, group, 'weight_names', namesOf(tensors));
  for (const { name, tensor } of tensors) file.dataset(join(group, name), tensor);
}

/** Writes a list of names in as few pieces as fit into an object header, cut as evenly as NumPy cuts. */
function writeNames(file: Hdf5Writer, group: string, list: string, names: readonly string[]): void {
  const texts = names.map((name) => Buffer.from(name, 'utf8'));
  // One byte more than the longest name: the strings are stored with their terminating zero.
  const width = 1 + Math.max(0, ...texts.map((text) => text.length));
  const pieces = Math.max(1, Math.ceil(texts.length / Math.floor(ATTRIBUTE_LIMIT / width)));
  if (pieces === 1) {
    file.texts(group, list, texts, width);
    return;
  }
  const base = Math.floor(texts.length / pieces);
  const longer = texts.length % pieces;
  let start = 0;
  for (let piece = 0; piece < pieces; piece++) {
    const end = start + base + (piece < longer ? 1 : 0);
    file.texts(group, `${list}${piece}`, texts.slice(start, end), width);
    start = end;
  }
}

/** JSON in ASCII, as Python's `json.dumps` writes it. */
function asciiJson(value: unknown): string {
  const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, escaped);
}

function checkContents(contents: KerasH5): void {
  const { modelConfig, trainingConfig, optimizer, extra } = contents;
  if (modelConfig === null && (trainingConfig !== null || optimizer !== null || extra)) {
    fail('argument', 'A file of weights alone cannot hold training state: give modelConfig as well.');
  }
  checkNames('layer', [...contents.layers.map((layer) => layer.layer), TOP_LEVEL]);
  for (const { layer, weights } of contents.layers) {
    checkNames(`weight of layer ${layer}`, namesOf(weights));
  }
  checkNames('optimizer variable', namesOf(optimizer ?? []));
  checkNames('extra tensor', namesOf(extra?.tensors ?? []));
}

function checkNames(what: string, names: readonly string[]): void {
  const seen = new Set<string>();
  for (const name of names) {
    const parts = name.split('/');
    if (parts.some((part) => part === '' || part === '.') || name.includes('\0')) {
      fail(
        'argument',
        `"${name}" cannot name a ${what} in an .h5 file: a part between slashes is empty or a dot.`,
      );
    }
    if (name.length > NAME_LIMIT)
      fail('argument', `The name of a ${what} is longer than ${NAME_LIMIT}: ${name}`);
    if (seen.has(name))
      fail('argument', `Two things called "${name}" where each ${what} needs its own name.`);
    seen.add(name);
  }
}

function namesOf(tensors: readonly NamedTensor[]): string[] {
  return tensors.map((each) => each.name);
}
