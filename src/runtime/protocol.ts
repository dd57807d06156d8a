/** What the engine and its worker say to each other. */
import type { ErrorCode } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';

/** Where sessions run. */
export type Device = 'cpu' | 'webgpu' | 'cuda';

export const devices: readonly Device[] = ['cpu', 'webgpu', 'cuda'];

export interface EngineOptions {
  readonly device: Device;
  /** Threads inside an operation. */
  readonly threads: number;
}

/** Named tensors, by the name of a graph's input or output or of a state. */
export type Tensors = Readonly<Record<string, Tensor>>;

/**
 * Which inputs of a session are read from the engine's state and which outputs replace it: input or output
 * name to state name. State never crosses the thread unless `read` asks for it.
 */
export interface Binding {
  readonly reads: Readonly<Record<string, string>>;
  readonly writes: Readonly<Record<string, string>>;
}

export type Request =
  | { readonly type: 'load'; readonly model: Uint8Array; readonly binding: Binding }
  | { readonly type: 'run'; readonly session: number; readonly feeds: Tensors }
  | { readonly type: 'release'; readonly session: number }
  | { readonly type: 'write'; readonly tensors: Tensors }
  | { readonly type: 'read'; readonly names: readonly string[] }
  | { readonly type: 'forget'; readonly names: readonly string[] }
  | { readonly type: 'close' };

/** What each request answers. */
export interface Answers {
  load: number;
  run: Tensors;
  release: null;
  write: null;
  read: Tensors;
  forget: null;
  close: null;
}

export interface Envelope {
  readonly id: number;
  readonly request: Request;
}

export type Reply =
  | { readonly id: number; readonly answer: Answers[keyof Answers] }
  | { readonly id: number; readonly error: { readonly code: ErrorCode; readonly message: string } };
