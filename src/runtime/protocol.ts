/** What the engine and its process say to each other. Tensors and bytes travel beside these records. */
import type { ErrorCode } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';

/** Where sessions run. */
export const devices = ['cpu', 'webgpu', 'cuda'] as const;
export type Device = (typeof devices)[number];

export interface EngineOptions {
  readonly device: Device;
  /** Threads inside an operation. */
  readonly threads: number;
  /** Hides what libraries write to stderr, such as why a driver is not there. Defaults to false. */
  readonly quiet?: boolean;
}

/** Named tensors, by the name of a graph's input or output or of a state. */
export type Tensors = Readonly<Record<string, Tensor>>;

/**
 * Which inputs of a session are read from the engine's state and which outputs replace it: input or output
 * name to state name. State never crosses to the caller unless `read` asks for it.
 */
export interface Binding {
  /**
   * Whether the session keeps memory from run to run, which is a few percent quicker. Without, all sessions that have
   * none share what one of them needs at a time.
   */
  readonly arena: boolean;
  /** True if no state is read once its next value is written, so that this may have the same memory. */
  readonly inPlace: boolean;
  /** False leaves a graph as it is: it loads sooner, and computes nothing until it runs. */
  readonly optimize: boolean;
  readonly reads: Readonly<Record<string, string>>;
  readonly writes: Readonly<Record<string, string>>;
}

/**
 * Where rows of a data set belong: those that are fed are kept under this name; for those that are not the graph gets all
 * that are kept, to gather them itself (`gathered` of `emitModel`).
 */
export interface KeptRows {
  readonly set: string;
  /** Rows of the whole data set. */
  readonly length: number;
  /** Positions of the rows of this run, step after step. */
  readonly indices: readonly number[];
  /** Steps of the run; 1 for a graph that knows of none. */
  readonly steps: number;
  /** The inputs that are such rows. */
  readonly inputs: readonly string[];
}

export type Request =
  /** Bytes: the model. Answers the session's number. */
  | { readonly type: 'load'; readonly binding: Binding }
  /** Tensors: the feeds. Answers the fetched outputs. */
  | { readonly type: 'run'; readonly session: number; readonly rows: KeptRows | null }
  | { readonly type: 'forgetRows' }
  | { readonly type: 'release'; readonly session: number }
  /** Tensors: the state to set. */
  | { readonly type: 'write' }
  /** Answers copies of the state. */
  | { readonly type: 'read'; readonly names: readonly string[] }
  | { readonly type: 'forget'; readonly names: readonly string[] };

export interface Envelope {
  readonly id: number;
  readonly request: Request;
}

export interface Reply {
  readonly id: number;
  readonly session?: number;
  readonly error?: { readonly code: ErrorCode; readonly message: string };
}
