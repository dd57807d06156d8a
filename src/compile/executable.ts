/** Graphs ready to load: what is fed, and which state the engine binds to them. */
import { bytesPerElement, sizeOf } from '../core/tensor.ts';
import { type Node, topologicalOrder } from '../graph/node.ts';
import { type EmitOptions, emitModel, positions } from '../onnx/emit.ts';
import type { Outputs } from './outputs.ts';

export interface ModelOptions extends Pick<EmitOptions, 'blocking' | 'gathered'> {
  /** For several steps in one run: feeds and results with a first axis for steps. */
  readonly steps?: boolean;
}

/** A graph ready to load: what is fed, and the state that it reads and replaces. */
export interface Executable {
  /** For any batch; or for one, with the runtime's own convolutions. `gathered` as `emitModel` has it. */
  readonly model: (options?: ModelOptions) => Uint8Array;
  /** True if kernels that change are convolved with: only then does a model for one batch gain anything. */
  readonly convolves: boolean;
  readonly feeds: readonly string[];
  readonly reads: Readonly<Record<string, string>>;
  readonly writes: Readonly<Record<string, string>>;
  /** Whether its sessions keep memory from run to run. */
  readonly arena: boolean;
}

/**
 * Bytes of state that a step replaces from which on it has no arena. There are several steps (for whole batches, for the
 * last one of an epoch), and each arena would hold, beside all activations, once more what is replaced.
 */
const largeState = 256 * 2 ** 20;

/** Outputs named `x+` replace the state `x`; the model is emitted when it is asked for. */
export function link(outputs: Outputs, isState: (name: string) => boolean): Executable {
  const inputs = [...inputsOf(Object.values(outputs)).keys()];
  const written = Object.keys(outputs).filter((name) => name.endsWith('+'));
  const reads = inputs.some(isState);
  const feeds = inputs.filter((name) => !isState(name));
  const writes = Object.fromEntries(written.map((name) => [name, name.slice(0, -1)]));
  return {
    model: ({ steps = false, ...options } = {}) => {
      if (!steps) return emitModel(outputs, options);
      const { gathered = [] } = options;
      const own = feeds.filter((name) => !gathered.includes(name));
      const repetition = { feeds: [...own, ...(gathered.length > 0 ? [positions] : [])], carried: writes };
      return emitModel(outputs, { ...options, repetition });
    },
    convolves: topologicalOrder(Object.values(outputs)).some(
      ({ op, inputs: [, kernel] }) => op === 'conv2d' && kernel!.op !== 'constant',
    ),
    feeds,
    reads: Object.fromEntries(inputs.filter(isState).map((name) => [name, name])),
    writes,
    // Evaluation comes between steps: what it kept would lie in the gaps that their state leaves and needs.
    arena: written.length > 0 ? bytesOfState(written.map((name) => outputs[name]!)) < largeState : !reads,
  };
}

function bytesOfState(nodes: readonly Node[]): number {
  return nodes.reduce((total, { shape, dtype }) => total + sizeOf(shape) * bytesPerElement(dtype), 0);
}

/** The inputs that nodes depend on, by name. */
export function inputsOf(nodes: readonly Node[]): Map<string, Node> {
  return new Map(
    topologicalOrder(nodes).flatMap((node) =>
      node.op === 'input' ? [[node.attributes.name, node] as const] : [],
    ),
  );
}
