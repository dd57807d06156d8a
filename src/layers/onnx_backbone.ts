/** A foreign ONNX model as a layer. Keras has no such layer, so Keras cannot open a model that holds one. */
import { createHash } from 'node:crypto';
import { fail } from '../core/errors.ts';
import { formatShape, sameShape } from '../core/tensor.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { checkModel, decodeForeign } from '../onnx/check.ts';
import type { OnnxPart } from '../onnx/foreign.ts';
import { partUpTo } from '../onnx/inspect.ts';
import { Layer, type LayerOptions } from './layer.ts';

interface OnnxBackboneConfig {
  /** The part as an ONNX file, next to the model that has the layer. */
  readonly file: string;
  /** Of that file. */
  readonly sha256: string;
  /** Shapes without the batch, channels last. */
  readonly inputShape: readonly number[];
  readonly outputShape: readonly number[];
}

export interface OnnxBackboneOptions extends LayerOptions {
  readonly part: OnnxPart;
  readonly inputShape: readonly number[];
  readonly outputShape: readonly number[];
}

/**
 * Computes part of an ONNX model, always as it is: its weights are constants of that model and never train.
 * `(height, width, channels)`, normalised as the model wants it, to `(height, width, channels)`, `(tokens, channels)` or
 * `(channels)`.
 */
export class OnnxBackbone extends Layer {
  readonly #config: OnnxBackboneConfig;
  #part: OnnxPart | null;

  private constructor(config: OnnxBackboneConfig, part: OnnxPart | null, options: LayerOptions) {
    super('OnnxBackbone', { ...options, trainable: false });
    this.#config = config;
    this.#part = part;
  }

  static of({ part, inputShape, outputShape, ...options }: OnnxBackboneOptions): OnnxBackbone {
    const sha256 = sha256Of(part.bytes);
    const file = `backbone-${sha256.slice(0, 12)}.onnx`;
    return new OnnxBackbone({ file, sha256, inputShape, outputShape }, part, options);
  }

  /** A layer without its file, which `loadAssets` brings. */
  static fromConfig(config: OnnxBackboneConfig & LayerOptions): OnnxBackbone {
    const { file, sha256, inputShape, outputShape, name } = config;
    if (!/^backbone-[0-9a-f]{12}\.onnx$/.test(file)) {
      fail('file', `Layer ${name}: "${file}" is no name of a file that Graft writes.`);
    }
    return new OnnxBackbone({ file, sha256, inputShape, outputShape }, null, name ? { name } : {});
  }

  override config() {
    const { file, sha256, inputShape, outputShape } = this.#config;
    return { file, sha256, input_shape: inputShape, output_shape: outputShape };
  }

  override get assets(): ReadonlyMap<string, Uint8Array> {
    return this.#part === null ? new Map() : new Map([[this.#config.file, this.#part.bytes]]);
  }

  override async loadAssets(read: (name: string) => Promise<Uint8Array>): Promise<void> {
    const { file, sha256 } = this.#config;
    const bytes = await read(file);
    if (sha256Of(bytes) !== sha256) {
      fail(
        'checksum',
        `${file} is not the file that the model was saved with: its SHA-256 is not ${sha256}.`,
      );
    }
    const model = checkModel(file, decodeForeign(file, bytes));
    this.#part = partUpTo(model, model.graph.output[0]!.name);
  }

  override countParams(): number {
    return this.#part?.parameters ?? 0;
  }

  override call([x]: readonly Node[]): Node {
    const part = this.#part ?? fail('state', `Layer ${this.name} has not got its ONNX file yet.`);
    return o.foreign(x!, part, [-1, ...this.#config.outputShape]);
  }

  protected override build([shape]: readonly (readonly number[])[]): void {
    const { inputShape } = this.#config;
    if (!sameShape(shape!, inputShape)) {
      fail('shape', `${this.name} takes ${formatShape(inputShape)}, got ${formatShape(shape!)}.`);
    }
  }

  protected override outputShape(): readonly number[] {
    return this.#config.outputShape;
  }
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
