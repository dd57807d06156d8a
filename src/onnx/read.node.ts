/**
 * Reads `.onnx` files that somebody else made. It owns what such a file may do: its size, weights that lie in other
 * files, and the form of what is inside. What a file computes is `foreign.ts`.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fail, messageOf } from '../core/errors.ts';
import { kindOf, refuseKind } from '../core/file_kind.node.ts';
import { readRegularFile } from '../core/regular_file.node.ts';
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

/** The folder of a model, from which its external weights come. */
class Folder {
  readonly #model: string;
  readonly #open = new Map<string, FileHandle>();
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
    const steps = location.split(/[/\\]/);
    if (location === '' || steps.includes('..') || /^([/\\]|[a-z]:)/i.test(location)) {
      fail(
        'file',
        `${name} lie in "${location}", outside of the model's folder; they are not read from there.`,
      );
    }
    const file = await this.#file(location, name);
    const { size } = await file.stat();
    const offset = Number(entry('offset') ?? 0);
    const length = Number(entry('length') ?? size - offset);
    if (!(offset >= 0 && length >= 0 && offset + length <= size)) {
      fail('file', `${name} are bytes ${offset} to ${offset + length} of ${location}, which has ${size}.`);
    }
    this.#left -= length;
    if (this.#left < 0) fail('unsupported', `${this.#model} has more than 2 GB of weights.`);
    tensor.rawData = new Uint8Array(length);
    await file.read(tensor.rawData, 0, length, offset);
    tensor.dataLocation = 0;
    tensor.externalData = [];
  }

  async #file(location: string, name: string): Promise<FileHandle> {
    const known = this.#open.get(location);
    if (known !== undefined) return known;
    const path = join(dirname(this.#model), location);
    try {
      const file = await open(path, 'r');
      this.#open.set(location, file);
      return file;
    } catch (error) {
      return fail('file', `${name} lie in ${path}, which cannot be read: ${messageOf(error)}`, error);
    }
  }

  async close(): Promise<void> {
    for (const file of this.#open.values()) await file.close();
  }
}
