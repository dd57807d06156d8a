/** The callback that writes TensorBoard's logs. The files are `saving/events.node.ts`. */
import { join } from 'node:path';
import { checked, type Entries, fields, flag, optional, text, wholeNumber } from '../core/checked.ts';
import type { Variable } from '../layers/layer.ts';
import { toSnake } from '../layers/serialization.ts';
import {
  EventFile,
  type EventImages,
  histogramSummary,
  imageSummary,
  type Summary,
  scalarSummary,
} from '../saving/events.node.ts';
import type { Callback, Logs } from './callback.ts';

/** Options of `tensorBoard`. */
export interface TensorBoardOptions {
  /** Epochs between histograms of all weights; defaults to 0, none. */
  readonly histogramFreq?: number;
  /** Writes weights as pictures too, whenever there are histograms. */
  readonly writeImages?: boolean;
}

const tensorBoardOptions = fields({
  histogramFreq: optional(wholeNumber(0), 0),
  writeImages: optional(flag, false),
} satisfies Entries<TensorBoardOptions>);

/**
 * Writes logs for TensorBoard (keras.callbacks.TensorBoard with update_freq 'epoch'), under Keras's tags: in `train/`
 * `epoch_loss`, `epoch_learning_rate`, ... and `conv/kernel/histogram`, `conv/kernel/image`; in `validation/`
 * `epoch_loss`, ... by epoch and `evaluation_loss_vs_iterations`, ... by step. Graphs, profiles and embeddings of
 * Keras's are not written. A training that continues adds files to the folder.
 *
 * @param logDir `logs` in Keras
 */
export function tensorBoard(logDir = 'logs', options: TensorBoardOptions = {}): Callback {
  checked(text, logDir, 'callbacks.tensorBoard(logDir)');
  const where = 'callbacks.tensorBoard';
  const { histogramFreq, writeImages } = checked(tensorBoardOptions, options, where);
  let train: EventFile | null = null;
  let validation: EventFile | null = null;
  return {
    name: 'tensorBoard',
    onTrainBegin() {
      train = new EventFile(join(logDir, 'train'));
      validation = new EventFile(join(logDir, 'validation'));
    },
    async onEpochEnd(epoch, logs, { model, learningRate, step }) {
      const own = Object.entries(logs).filter(([key]) => !isValidation(key));
      await train!.write(epoch, scalars('epoch_', '', { ...Object.fromEntries(own), learningRate }));
      const validated = validationLogs(logs);
      if (Object.keys(validated).length > 0) {
        await validation!.write(epoch, scalars('epoch_', '', validated));
        await validation!.write(step, scalars('evaluation_', '_vs_iterations', validated));
      }
      if (histogramFreq > 0 && epoch % histogramFreq === 0) {
        // Brings the engine's weights into the model.
        await model.currentWeights();
        await train!.write(epoch, await weightSummaries(model.variables, writeImages));
      }
      return undefined;
    },
  };
}

function isValidation(key: string): boolean {
  return /^val[A-Z]/.test(key);
}

/** `valLoss` as `loss`. */
function validationLogs(logs: Logs): Logs {
  const entries = Object.entries(logs).filter(([key]) => isValidation(key));
  return Object.fromEntries(entries.map(([key, value]) => [toSnake(key.slice(3)).replace(/^_/, ''), value]));
}

function scalars(before: string, after: string, logs: Logs): Summary[] {
  return Object.entries(logs).map(([key, value]) => scalarSummary(`${before}${toSnake(key)}${after}`, value));
}

async function weightSummaries(variables: readonly Variable[], withImages: boolean): Promise<Summary[]> {
  const summaries: Summary[] = [];
  for (const variable of variables) {
    summaries.push(histogramSummary(`${variable.path}/histogram`, variable.values));
    const images = withImages ? imagesOf(variable) : null;
    if (images !== null) summaries.push(await imageSummary(`${variable.path}/image`, images));
  }
  return summaries;
}

/** Pictures that tf.summary.image takes of each weight. */
const mostImages = 3;

/**
 * A weight as Keras shows it, axes of size 1 left out: a vector as one column, a matrix lying, of three axes one grey
 * picture for each place of the last; of four axes (height, width, channels, filters) only those whose last has 1, 3 or
 * 4 places, as pictures of so many channels. Null for others.
 */
export function imagesOf({ shape, values }: Pick<Variable, 'shape' | 'values'>): EventImages | null {
  const dims = shape.filter((dim) => dim !== 1);
  if (dims.length > 4 || (dims.length === 4 && dims[3] !== 3 && dims[3] !== 4)) return null;
  const pixels = Uint8Array.from(values, pixelOf);
  if (dims.length <= 1) return { height: dims[0] ?? 1, width: 1, channels: 1, pixels: [pixels] };
  const [a, b, c = 1] = dims as [number, number, number?];
  if (dims.length === 2) {
    if (a <= b) return { height: a, width: b, channels: 1, pixels: [pixels] };
    return {
      height: b,
      width: a,
      channels: 1,
      pixels: [pixels.map((_, i) => pixels[(i % a) * b + Math.floor(i / a)]!)],
    };
  }
  if (dims.length === 3) {
    const plane = (k: number) => Uint8Array.from({ length: a * b }, (_, i) => pixels[i * c + k]!);
    const count = Math.min(c, mostImages);
    return { height: a, width: b, channels: 1, pixels: Array.from({ length: count }, (_, k) => plane(k)) };
  }
  const channels = dims[3] as 3 | 4;
  const size = b * c * channels;
  const count = Math.min(a, mostImages);
  return {
    ...{ height: b, width: c, channels },
    pixels: Array.from({ length: count }, (_, i) => pixels.subarray(i * size, (i + 1) * size)),
  };
}

/** tf.image.convert_image_dtype with saturation: 0 … 1 to 0 … 255, what is beyond at its ends. */
function pixelOf(value: number): number {
  return Math.min(255, Math.max(0, Math.trunc(value * 255.5)));
}
