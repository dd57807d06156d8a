/**
 * Reading and writing Keras's legacy `.h5` files. It owns where things lie in the file; what they mean and in
 * which order they come is told in `keras_h5.ts`.
 */
import { open, stat } from 'node:fs/promises';
import { fail, messageOf } from '../core/errors.ts';
import { writeAtomically } from '../core/files.node.ts';
import { ATTRIBUTE_LIMIT, Hdf5Reader, Hdf5Writer } from './hdf5.node.ts';
import { Hdf5Error, withHdf5 } from './hdf5_library.node.ts';
import type { KerasH5 } from './keras_h5.ts';
import type { NamedTensor } from './tensors.ts';

export type { ExtraState, KerasH5, LayerWeights } from './keras_h5.ts';

export interface ReadKerasH5Options {
  /** Whether to read the optimizer's variables, which are often larger than the weights. Default true. */
  readonly optimizer?: boolean;
  /** Layers whose weights are read; the others come back with no weights. Default: all. */
  readonly layers?: (layer: string) => boolean;
}

const WEIGHTS = '/model_weights';
const OPTIMIZER = '/optimizer_weights';
const TOP_LEVEL = 'top_level_model_weights';
const EXTRA = '/graft';
/** Longest name that is written, in UTF-16 units: a piece of a list must hold at least one of 3 bytes a unit. */
const NAME_LIMIT = 16_000;
const SIGNATURE = Buffer.from('\x89HDF\r\n\x1a\n', 'latin1');

/**
 * Reads a legacy Keras file: a whole model or weights alone. Values are float32 as stored; float64 is narrowed.
 *
 * Throws `file`, with the path and what was expected, when the file is missing, damaged, of another format, or
 * declares more than it can hold.
 */
export async function readKerasH5(path: string, options: ReadKerasH5Options = {}): Promise<KerasH5> {
  const bytes = await checkSignature(path);
  return await withHdf5(path, 'read', (hdf5, file) => readAll(new Hdf5Reader(hdf5, file, bytes), options));
}

function readAll(file: Hdf5Reader, options: ReadKerasH5Options): KerasH5 {
  const isModel = file.kindOf(WEIGHTS) === 'group';
  const root = isModel ? WEIGHTS : '/';
  const names = readNames(file, root, 'layer_names');
  if (names === null) throw new Hdf5Error(noLayers(file, root));
  const wanted = options.layers ?? (() => true);
  const layers = names.map((layer) => ({
    layer,
    weights: wanted(layer) ? readTensors(file, join(root, layer), 'weight_names') : [],
  }));
  const topLevel = file.kindOf(join(root, TOP_LEVEL)) ? readTensors(file, join(root, TOP_LEVEL)) : [];
  const hasOptimizer = options.optimizer !== false && file.kindOf(OPTIMIZER) === 'group';
  return {
    modelConfig: readJsonText(file, '/', 'model_config'),
    trainingConfig: readJsonText(file, '/', 'training_config'),
    kerasVersion: readText(file, root, 'keras_version') ?? readText(file, '/', 'keras_version'),
    backend: readText(file, root, 'backend') ?? readText(file, '/', 'backend'),
    layers,
    topLevel,
    optimizer: hasOptimizer ? readTensors(file, OPTIMIZER) : null,
    extra: file.kindOf(EXTRA)
      ? { json: readJsonText(file, EXTRA, 'state'), tensors: readTensors(file, EXTRA) }
      : null,
  };
}

function noLayers(file: Hdf5Reader, root: string): string {
  const isWeightsV3 = file.kindOf('/layers') || file.kindOf('/_layer_checkpoint_dependencies');
  if (isWeightsV3) {
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

function readText(file: Hdf5Reader, path: string, name: string): string | null {
  return file.texts(path, name)?.[0] ?? null;
}

function readJsonText(file: Hdf5Reader, path: string, name: string): unknown {
  const text = readText(file, path, name);
  if (text === null) return null;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Hdf5Error(`the attribute "${name}" is not valid JSON: ${messageOf(error)}`);
  }
}

function join(group: string, name: string): string {
  return group === '/' ? `/${name}` : `${group}/${name}`;
}

/** Checks that a file is HDF5, so that the usual mistakes get a plain answer. Returns its size in bytes. */
async function checkSignature(path: string): Promise<number> {
  const start = Buffer.alloc(8);
  let bytes: number;
  try {
    bytes = (await stat(path)).size;
    const handle = await open(path, 'r');
    try {
      await handle.read(start, 0, 8, 0);
    } finally {
      await handle.close();
    }
  } catch (error) {
    fail('file', `Cannot read ${path}: ${messageOf(error)}`, error);
  }
  if (!start.equals(SIGNATURE)) {
    const isZip = start.toString('latin1', 0, 2) === 'PK';
    const found = isZip ? ' but a zip archive, perhaps a .keras file' : '';
    fail('file', `${path} is not an HDF5 file${found}; expected a .h5 file written by Keras or Graft.`);
  }
  return bytes;
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
  await writeAtomically(path, (temp) =>
    withHdf5(temp, 'write', (hdf5, file) => writeAll(new Hdf5Writer(hdf5, file), contents), path),
  );
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
