/** A model as one ONNX graph for inference: pictures in, predictions out, every weight a constant. */
import * as v from 'valibot';
import { type Entries, fields, oneOf, optional, text } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import * as o from '../graph/ops.ts';
import { simplify, substitute } from '../graph/simplify.ts';
import type { Layer } from '../layers/layer.ts';
import { networkConfig } from '../models/config.ts';
import { Network } from '../models/network.ts';
import { emitModel } from '../onnx/emit.ts';
import { foldFrozen } from '../quantize/index.ts';
import { traceModel, weightConstants } from './trace.ts';

/** Options of `model.export`. */
export interface ExportOptions {
  /** The names of the classes, in the order of the outputs. Defaults to none. */
  readonly classNames?: readonly string[] | null;
  /** Element type of the pictures. Defaults to `uint8`. */
  readonly input?: 'uint8' | 'float32';
}

export const exportOptions = fields({
  classNames: optional(v.nullable(v.array(text, 'an array of names')), null),
  input: optional(oneOf('uint8', 'float32'), 'uint8'),
} satisfies Entries<ExportOptions>);

/** A protobuf message, and so an ONNX model in one file, has at most 2 GB. */
const SIZE_LIMIT = 2 ** 31 - 1;

/**
 * The bytes of an ONNX model (opset 20, standard operations only). Its input `image` is (batch, height, width,
 * channels), of any batch size; its output is `output`. Whatever preprocessing the model has is inside. Batch
 * normalization is folded into convolutions.
 *
 * `metadata_props` tell: `graft.inputShape`, `graft.classNames` (both JSON lists) and `graft.preprocessing`, the
 * Keras configs of the layers that prepare the pictures (JSON).
 *
 * Throws `argument` if there is not one name for each output, `state` if weights have no values, and `unsupported` for
 * more than 2 GB of weights.
 */
export function exportModel(network: Network, options: ExportOptions = {}): Uint8Array {
  const { classNames = null, input = 'uint8' } = options;
  const outputs = network.result.shape.at(-1)!;
  if (classNames !== null && classNames.length !== outputs) {
    fail(
      'argument',
      `Model ${network.name} has ${outputs} outputs, but there are ${classNames.length} class names.`,
    );
  }
  if (4 * network.countParams() > SIZE_LIMIT) {
    fail(
      'unsupported',
      `Model ${network.name} has more than 2 GB of weights, the most that an ONNX file holds.`,
    );
  }
  const trace = traceModel(network, input);
  const [output] = foldFrozen(simplify(substitute([trace.inference.output], weightConstants(trace))));
  // A model that gives its input back would otherwise name one value twice.
  const named = output!.op === 'input' ? o.cast(output!, 'float32') : output!;
  return emitModel(
    { output: named },
    {
      metadata: {
        'graft.inputShape': JSON.stringify([null, ...network.input.shape]),
        'graft.preprocessing': JSON.stringify(preprocessing(network)),
        ...(classNames === null ? {} : { 'graft.classNames': JSON.stringify(classNames) }),
      },
    },
  );
}

const preparing = new Set(['Resizing', 'Rescaling', 'Normalization', 'CenterCrop']);

/** The configs of the layers that a picture meets before the first that learned something, in nested models too. */
function preprocessing(network: Network): unknown[] {
  const { config } = networkConfig(network);
  const described = new Map(
    (config['layers'] as { config: { name: string } }[]).map((entry) => [entry.config.name, entry]),
  );
  const found: unknown[] = [];
  for (const { layer } of network.steps.map(({ output }) => output)) {
    if (layer instanceof Network) return [...found, ...preprocessing(layer)];
    if (!prepares(layer)) break;
    found.push(described.get(layer.name));
  }
  return found;
}

/** Graft's own `caffe` preprocessing is a convolution. */
function prepares({ className, name }: Layer): boolean {
  return preparing.has(className) || name.endsWith('_preprocessing');
}
