/**
 * Foreign ONNX models as backbones. It owns the dry run that says what such a model does with pictures of a size,
 * and whether it takes them one by one.
 */
import * as v from 'valibot';
import { checked, type Entries, fields, optional, text } from '../core/checked.ts';
import { fail, GraftError, messageOf } from '../core/errors.ts';
import { Random } from '../core/random.ts';
import { float32, formatShape, sizeOf, type Tensor } from '../core/tensor.ts';
import * as o from '../graph/ops.ts';
import * as layers from '../layers/index.ts';
import { OnnxBackbone } from '../layers/onnx_backbone.ts';
import { emitModel } from '../onnx/emit.ts';
import { type OnnxPart, parametersOf } from '../onnx/foreign.ts';
import {
  foreignTensors,
  type ImageInput,
  imageInput,
  partUpTo,
  pictureOutput,
  type ShapedTensor,
  shapesModel,
  usualCut,
} from '../onnx/inspect.ts';
import type { ModelProto } from '../onnx/proto.ts';
import { readOnnx } from '../onnx/read.node.ts';
import { model as modelOf } from '../training/build.ts';
import type { Model } from '../training/model.ts';
import { dryRun, TrialError } from './dry_run.node.ts';
import {
  type Normalization,
  normalizationLayer,
  normalizationSchema,
  normalizationWords,
} from './normalization.ts';
import { classNamesOf, type PictureNotes, pictureNotes } from './onnx_metadata.node.ts';
import { grey } from './preprocessing.ts';

/** Options of `fromOnnx`. */
export interface OnnxOptions {
  /** Height, width and 3. Defaults to what the file fixes or what is written beside it, else (224, 224, 3). */
  readonly inputShape?: readonly [number, number, number];
  /** The tensor that ends the backbone. Defaults to the last feature map, or what goes into the classifier. */
  readonly output?: string;
  /** How RGB values 0 … 255 are normalised. Defaults to what the file's metadata or a file beside it says. */
  readonly preprocessing?: Normalization;
  /** Of the model. */
  readonly name?: string;
}

const onnxOptions = fields({
  inputShape: optional(
    v.custom<readonly [number, number, number]>(
      (value) =>
        Array.isArray(value) &&
        value.length === 3 &&
        value.every((size) => Number.isSafeInteger(size) && size > 0),
      'height, width and 3',
    ),
  ),
  output: optional(text),
  preprocessing: optional(normalizationSchema),
  name: optional(text),
} satisfies Entries<OnnxOptions>);

/** What a foreign model is and where it can be cut. */
export interface OnnxInspection {
  readonly path: string;
  readonly model: ModelProto;
  /** Of the whole file. */
  readonly parameters: number;
  readonly input: ImageInput;
  readonly inputShape: readonly [number, number, number];
  /** Between picture and output, with their shapes for one picture of `inputShape`. */
  readonly tensors: readonly ShapedTensor[];
  /** Where `fromOnnx` cuts if nothing else is asked for. */
  readonly suggested: ShapedTensor;
  /** The model's own output for an image. */
  readonly output: string;
  readonly notes: PictureNotes;
  /** Of a file that Graft exported with them. */
  readonly classNames: readonly string[] | null;
}

/**
 * A foreign ONNX model as a frozen backbone, with its preprocessing: a model of RGB pictures 0 … 255, of shape
 * `inputShape`, that puts out `(height, width, channels)`, `(tokens, channels)` or `(channels)`.
 *
 * Images of a file that takes one channel are made grey inside. The file stays as it is: operator sets from 7 on, weights in float16 or in other files of its folder, batches
 * that were fixed. A model that holds such a backbone is saved with the file beside it.
 *
 * @throws `file` if the file is damaged, `unsupported` if ONNX Runtime cannot run it or it takes no pictures one by
 * one, `argument` if it has no such tensor or nobody says how its pictures are normalised
 */
export async function fromOnnx(file: string | OnnxInspection, options: OnnxOptions = {}): Promise<Model> {
  const given = checked(onnxOptions, options, 'applications.fromOnnx');
  const inspection = typeof file === 'string' ? await inspectOnnx(file, given.inputShape) : file;
  const { path, model, input, inputShape, tensors, suggested, notes } = inspection;
  const output = given.output ?? suggested.name;
  const part = partUpTo(model, output);
  const { shape, layout } =
    tensors.find(({ name }) => name === output) ??
    fail('unsupported', `${path}: ${noRows(output, input, inputShape)}`);
  const outputShape = channelsLast(shape, layout);
  const [height, width] = inputShape;
  const partShape = [height, width, input.channels];
  await checkRows(path, part, partShape, outputShape);
  const normalization = given.preprocessing ?? notes.normalization ?? fail('argument', unsaid(path));
  const image = layers.input({ shape: inputShape, name: 'image' });
  const seen = input.channels === 1 ? grey().apply(image) : image;
  const normalized = normalizationLayer(normalization, input.channels)?.apply(seen) ?? seen;
  const name = given.name ?? 'onnx_backbone';
  const features = OnnxBackbone.of({
    part,
    inputShape: partShape,
    outputShape,
    name: `${name}_part`,
  }).apply(normalized);
  const backbone = modelOf({ inputs: image, outputs: features, name });
  backbone.freeze();
  return backbone;
}

function unsaid(path: string): string {
  return (
    `${path} does not say how its pictures are normalised, nor does a file beside it. Say it: ${normalizationWords}. ` +
    'Most models of PyTorch, timm and Hugging Face want torch.'
  );
}

/** Looks at a foreign model and runs it on noise. Throws as `fromOnnx`. */
export async function inspectOnnx(
  path: string,
  wanted?: readonly [number, number, number],
): Promise<OnnxInspection> {
  const model = await readOnnx(path);
  return naming(path, async () => {
    const input = imageInput(model);
    const notes = await pictureNotes(path, model, input);
    const size = notes.size ?? [224, 224];
    const inputShape = wanted ?? ([input.height ?? size[0], input.width ?? size[1], 3] as const);
    const tensors = await shapesOf(model, input, inputShape);
    const suggested =
      usualCut(tensors) ?? fail('unsupported', noRows(pictureOutput(model, input), input, inputShape));
    const [parameters, output] = [parametersOf(model), pictureOutput(model, input)];
    const classNames = classNamesOf(model);
    return { path, model, parameters, input, inputShape, tensors, suggested, output, notes, classNames };
  });
}

function noRows(
  tensor: string,
  input: ImageInput,
  [height, width]: readonly [number, number, number],
): string {
  return `Its tensor "${tensor}" has no row for each picture. ${describeMisfit(input, height, width)}`;
}

/** Puts the file's name before an error. */
async function naming<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof GraftError) fail(error.code, `${path}: ${error.message}`, error);
    throw error;
  }
}

/** Runs it on one picture and on two, and asks for nothing but shapes. */
async function shapesOf(
  model: ModelProto,
  input: ImageInput,
  [height, width]: readonly [number, number, number],
): Promise<ShapedTensor[]> {
  const tensors = foreignTensors(model, input);
  const { channels } = input;
  const picture = input.layout === 'channelsFirst' ? [channels, height, width] : [height, width, channels];
  // Optimizing a graph with as many outputs takes longer than running it.
  const [one, two] = await runs(shapesModel(model, input, tensors), input.name, picture, {
    misfit: () => describeMisfit(input, height, width),
    optimize: false,
  });
  return tensors.flatMap((tensor, i): ShapedTensor[] => {
    const [single, double] = [one, two].map((results) =>
      Array.from((results[`shape${i}`] as Tensor<'int64'>).data, Number),
    );
    const [batch, ...shape] = single!;
    const perPicture =
      batch === 1 && double![0] === 2 && shape.every((dim, axis) => dim === double![axis + 1]);
    return perPicture ? [{ ...tensor, shape }] : [];
  });
}

function describeMisfit(
  { height, width, batch }: ImageInput,
  wantedHeight: number,
  wantedWidth: number,
): string {
  const fixed = height !== null && width !== null && (height !== wantedHeight || width !== wantedWidth);
  if (fixed) return `It was exported for pictures of ${height}x${width}; use that size. `;
  if (batch === null) {
    if (height !== null && width !== null) return '';
    return (
      `It was tried with pictures of ${wantedHeight}x${wantedWidth}; if it was made for others, say their size ` +
      '(--image-size, in code inputShape). '
    );
  }
  return (
    `It was exported for batches of ${batch} and cannot take others; export it with a free batch ` +
    "(dynamic_axes={'input': {0: 'batch'}} in torch.onnx.export). "
  );
}

/** What a model gives for one noise picture, and for two of which that is the first. */
async function runs(
  bytes: Uint8Array,
  name: string,
  picture: readonly number[],
  { misfit, optimize }: { readonly misfit: () => string; readonly optimize: boolean },
): Promise<[Record<string, Tensor>, Record<string, Tensor>]> {
  const size = sizeOf(picture);
  const noise = new Random(0, 'dry run').fillUniform(new Float32Array(2 * size));
  const feeds = [1, 2].map((count) => ({
    [name]: float32([count, ...picture], noise.subarray(0, count * size)),
  }));
  const [one, two] = await dryRun(bytes, feeds, { optimize }).catch((error) => refuse(misfit(), error));
  return [one!, two!];
}

function refuse(misfit: string, error: unknown): never {
  if (error instanceof TrialError) throw error;
  const text = messageOf(error);
  // Whatever the size of pictures and batches.
  const unknown = /not a registered function|No Op registered|is under development/.test(text);
  return fail('unsupported', `ONNX Runtime cannot run it. ${unknown ? '' : misfit}It says: ${text}`, error);
}

/** In Graft's order of dimensions. */
function channelsLast(shape: readonly number[], layout: ImageInput['layout']): readonly number[] {
  if (shape.length !== 3 || layout === 'channelsLast') return shape;
  return [shape[1]!, shape[2]!, shape[0]!];
}

/** Rounding of one picture alone and of the same beside another one, in units of the largest feature. */
const tolerance = 1e-3;

/** A model whose result for a picture depends on its neighbours would give other features in each batch. */
async function checkRows(
  path: string,
  part: OnnxPart,
  inputShape: readonly number[],
  outputShape: readonly number[],
): Promise<void> {
  const x = o.input('x', [-1, ...inputShape]);
  const bytes = emitModel({ y: o.foreign(x, part, [-1, ...outputShape]) });
  await naming(path, async () => {
    const [one, two] = await runs(bytes, 'x', inputShape, { misfit: () => '', optimize: true });
    const [alone, both] = [one, two].map(({ y }) => y!.data as Float32Array) as [Float32Array, Float32Array];
    const largest = alone.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const apart = alone.reduce((most, value, i) => Math.max(most, Math.abs(value - both[i]!)), 0);
    if (!(apart <= tolerance * largest) || alone.length !== sizeOf(outputShape)) {
      fail(
        'unsupported',
        `Its features ${formatShape(outputShape)} of a picture depend on the other pictures of a batch. ` +
          'Export it for inference (model.eval() in PyTorch) and with a free batch.',
      );
    }
  });
}
