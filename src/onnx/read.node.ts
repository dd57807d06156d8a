/**
 * Reads `.onnx` files that somebody else made. It owns what such a file may do: its size, weights that lie in other
 * files, and the form of what is inside. What a file computes is `foreign.ts`.
 */
import { lstat, realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path';
import { fail, messageOf } from '../core/errors.ts';
import { kindOf, refuseKind } from '../core/file_kind.node.ts';
import { RegularFile, readRegularFile } from '../core/regular_file.node.ts';
import { checkModel, decodeForeign } from './check.ts';
import type { GraphProto, ModelProto, StoredTensorProto } from './proto.ts';
import { subgraphsOf } from './walk.ts';

/** Protobuf's own limit. Larger models keep their weights in other files, but have to fit here after all. */
const largest = 2 ** 31 - 1;

/** TensorProto.DataLocation */
const external = 1;

/**
 * Reads a model with its weights, those in other files of its folder included.
 *
 * @throws `file` if it is missing, damaged or no ONNX model, `unsupported` for what Graft cannot take apart
 */
export async function readOnnx(path: string): Promise<ModelProto> {
  const kind = await kindOf(path);
  if (kind !== 'onnx') refuseKind(path, kind, 'an ONNX model (.onnx)');
  const bytes = await readRegularFile(path, { limit: largest, kind: 'an ONNX model' });
  const model = decodeForeign(path, bytes);
  const folder = new Folder(path, largest - bytes.byteLength);
  try {
    await folder.load(model.graph);
  } finally {
    await folder.close();
  }
  return checkModel(path, model);
}

function isInside(path: string, folder: string, orSame = false): boolean {
  const way = relative(folder, path);
  if (way === '') return orSame;
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

/** Where the files of a snapshot in a cache of Hugging Face are; null for any other folder. */
async function blobsOf(folder: string): Promise<string | null> {
  const steps = folder.split(sep);
  const snapshots = steps.lastIndexOf('snapshots');
  if (snapshots < 1 || snapshots === steps.length - 1) return null;
  const store = steps.slice(0, snapshots).join(sep);
  if (!/^(models|datasets|spaces)--/.test(basename(store))) return null;
  return realpath(join(store, 'blobs')).then(
    (blobs) => (dirname(blobs) === store ? blobs : null),
    () => null,
  );
}

/** The folder of a model, from which its external weights come. */
class Folder {
  readonly #model: string;
  readonly #open = new Map<string, RegularFile>();
  #left: number;

  constructor(model: string, left: number) {
    this.#model = model;
    this.#left = left;
  }

  async load(graph: GraphProto): Promise<void> {
    const values = graph.node.flatMap(({ attribute }) => attribute.flatMap(({ t }) => t ?? []));
    for (const tensor of [...graph.initializer, ...values]) await this.#fetch(tensor);
    for (const node of graph.node) for (const inner of subgraphsOf(node)) await this.load(inner);
  }

  async #fetch(tensor: StoredTensorProto): Promise<void> {
    if (tensor.dataLocation !== external) return;
    const entry = (key: string) => tensor.externalData?.find((each) => each.key === key)?.value;
    const location = entry('location') ?? '';
    const name = `${this.#model}: the weights of ${tensor.name}`;
    const file = await this.#file(location, name);
    const offset = Number(entry('offset') ?? 0);
    const length = Number(entry('length') ?? file.bytes - offset);
    const isThere =
      [offset, length].every((value) => Number.isSafeInteger(value) && value >= 0) &&
      offset + length <= file.bytes;
    if (!isThere) {
      fail(
        'file',
        `${name} are bytes ${offset} to ${offset + length} of ${location}, which has ${file.bytes}.`,
      );
    }
    this.#left -= length;
    if (this.#left < 0) fail('unsupported', `${this.#model} has more than 2 GB of weights.`);
    tensor.rawData = await file.read(offset, length);
    tensor.dataLocation = 0;
    tensor.externalData = [];
  }

  async #file(location: string, name: string): Promise<RegularFile> {
    const known = this.#open.get(location);
    if (known !== undefined) return known;
    const path = await this.#resolve(location, name);
    const file = await RegularFile.open(path, {
      ...{ limit: Number.MAX_SAFE_INTEGER, kind: 'weights', shownAs: location },
    }).catch((error: unknown) => fail('file', `${name}: ${messageOf(error)}`, error));
    this.#open.set(location, file);
    const { nlink, ino, dev } = await file.handle.stat();
    // A file with a second name may be one of elsewhere, and nothing tells which. ONNX's own loader refuses them too.
    if (nlink > 1) {
      fail(
        'file',
        `${name} lie in "${location}", which has hard links: it may be a file of elsewhere, so it is not read. ` +
          'If it is meant to be here, replace it by a copy.',
      );
    }
    // What was looked at has to be what was opened.
    const now = await lstat(path);
    if (now.ino !== ino || now.dev !== dev) fail('file', `${name}: "${location}" was exchanged meanwhile.`);
    return file;
  }

  /**
   * The real path of a file with weights. It has to lie in the model's folder, links resolved; or, where the folder is a
   * snapshot in a cache of Hugging Face (`models--NAME/snapshots/COMMIT/…`), among the blobs of the same repository.
   */
  async #resolve(location: string, name: string): Promise<string> {
    const outside = () =>
      fail(
        'file',
        `${name} lie in "${location}", outside of the model's folder; they are not read from there. ` +
          'Put them beside the model.',
      );
    const steps = location.split(/[/\\]/);
    if (location === '' || steps.includes('..') || /^([/\\]|[a-z]:)/i.test(location)) outside();
    const missing = (error: unknown) =>
      fail('file', `${name} lie in "${location}", which cannot be read: ${messageOf(error)}`, error);
    const folder = await realpath(dirname(this.#model));
    const path = await realpath(join(folder, location)).catch(missing);
    if (isInside(path, folder)) return path;
    const parent = await realpath(dirname(join(folder, location))).catch(missing);
    const blobs = await blobsOf(folder);
    return blobs !== null && isInside(parent, folder, true) && dirname(path) === blobs ? path : outside();
  }

  async close(): Promise<void> {
    for (const file of this.#open.values()) await file.close();
  }
}
