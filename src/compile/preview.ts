/** The graph of what a model makes of pictures in a training step, without loss and update. */
import type { Network } from '../models/network.ts';
import { emitModel } from '../onnx/emit.ts';
import { type Noise, traceModel } from './trace.ts';

export interface PreviewGraph {
  /** `image` and noises → `pictures`. */
  readonly model: Uint8Array;
  readonly noises: readonly Noise[];
}

/** For models without weights. */
export function previewGraph(network: Network): PreviewGraph {
  const { training, noises } = traceModel(network, 'uint8');
  return { model: emitModel({ pictures: training.output }), noises };
}
