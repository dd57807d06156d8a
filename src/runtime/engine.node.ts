/**
 * The one door to ONNX Runtime: an engine is a worker thread that owns sessions, weights and optimizer state.
 * A run blocks its thread, so it must not be the caller's. Requests are answered in order, and a failed one
 * fails alone.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { fail, GraftError } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import type {
  Answers,
  Binding,
  Device,
  EngineOptions,
  Envelope,
  Reply,
  Request,
  Tensors,
} from './protocol.ts';

export type { Binding, Device, Tensors } from './protocol.ts';

/** A loaded graph. Valid until it is released or its engine is closed. */
export interface Session {
  /**
   * Runs the graph. `feeds` are the inputs that are not bound to state; their memory is handed over to the
   * engine when `transfer` is true, and copied otherwise.
   */
  run(feeds: Tensors, options?: { readonly transfer?: boolean }): Promise<Tensors>;
  release(): Promise<void>;
}

interface Pending {
  resolve(answer: never): void;
  reject(error: Error): void;
}

export class Engine {
  readonly device: Device;
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #nextId = 0;
  #ended: Error | null = null;

  private constructor(worker: Worker, device: Device) {
    this.#worker = worker;
    this.device = device;
    worker.on('message', (reply: Reply) => this.#receive(reply));
    worker.on('error', (error) =>
      this.#end(new GraftError('device', `The engine stopped: ${error.message}`)),
    );
    worker.on('exit', (code) =>
      this.#end(new GraftError('device', `The engine has ended (exit code ${code}).`)),
    );
    // An idle engine does not keep the process alive; a pending request does.
    worker.unref();
  }

  /** Starts an engine. `threads` defaults to the machine's cores. A missing device shows at the first `load`. */
  static start({ device = 'cpu', threads = availableParallelism() }: Partial<EngineOptions> = {}): Engine {
    const options: EngineOptions = { device, threads };
    return new Engine(new Worker(workerUrl(), { workerData: options }), device);
  }

  /** Loads an ONNX model. Throws `device` if the engine's device is not there. */
  async load(model: Uint8Array, binding: Partial<Binding> = {}): Promise<Session> {
    const full: Binding = { reads: binding.reads ?? {}, writes: binding.writes ?? {} };
    const session = await this.#ask<'load'>({ type: 'load', model, binding: full });
    return {
      run: (feeds, { transfer = false } = {}) =>
        this.#ask<'run'>({ type: 'run', session, feeds }, transfer ? buffersOf(feeds) : []),
      release: async () => {
        await this.#ask<'release'>({ type: 'release', session });
      },
    };
  }

  /** Sets state tensors; their memory is copied. */
  async write(tensors: Tensors): Promise<void> {
    await this.#ask<'write'>({ type: 'write', tensors });
  }

  /** Copies state tensors out of the engine. Throws `state` if one is unknown. */
  async read(names: readonly string[]): Promise<Tensors> {
    return await this.#ask<'read'>({ type: 'read', names });
  }

  /** Frees state tensors. */
  async forget(names: readonly string[]): Promise<void> {
    await this.#ask<'forget'>({ type: 'forget', names });
  }

  /** Releases every session and ends the thread. Closing twice is allowed. */
  async close(): Promise<void> {
    if (this.#ended) return;
    await this.#ask<'close'>({ type: 'close' });
    await this.#worker.terminate();
  }

  #ask<K extends Request['type']>(
    request: Request & { type: K },
    transfer: ArrayBuffer[] = [],
  ): Promise<Answers[K]> {
    if (this.#ended) return Promise.reject(this.#ended);
    const envelope: Envelope = { id: this.#nextId++, request };
    return new Promise<Answers[K]>((resolve, reject) => {
      this.#worker.ref();
      this.#pending.set(envelope.id, { resolve: resolve as (answer: never) => void, reject });
      this.#worker.postMessage(envelope, transfer);
    });
  }

  #receive(reply: Reply): void {
    const pending = this.#pending.get(reply.id)!;
    this.#pending.delete(reply.id);
    if (this.#pending.size === 0) this.#worker.unref();
    if ('error' in reply) pending.reject(new GraftError(reply.error.code, reply.error.message));
    else pending.resolve(reply.answer as never);
  }

  #end(reason: Error): void {
    this.#ended ??= reason;
    for (const { reject } of this.#pending.values()) reject(reason);
    this.#pending.clear();
  }
}

/** The buffers of tensors that own theirs whole; a view into a larger buffer is copied instead. */
function buffersOf(tensors: Tensors): ArrayBuffer[] {
  const owned = Object.values(tensors).flatMap(({ data }: Tensor) =>
    data.buffer instanceof ArrayBuffer && data.byteLength === data.buffer.byteLength ? [data.buffer] : [],
  );
  return [...new Set(owned)];
}

/** The worker is plain JavaScript: from sources (tests) it is the one that the build wrote. */
function workerUrl(): URL {
  const own = import.meta.url;
  return new URL(own.endsWith('.ts') ? '../../dist/runtime/worker.node.js' : './worker.node.js', own);
}

/** Throws `argument` with the known devices if a name is not one of them. */
export function parseDevice(name: string): Device {
  if (name === 'cpu' || name === 'webgpu' || name === 'cuda') return name;
  return fail('argument', `Unknown device "${name}"; expected cpu, webgpu or cuda.`);
}
