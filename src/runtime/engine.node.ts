/**
 * The one door to ONNX Runtime: an engine is a child process that owns sessions, weights and optimizer state.
 *
 * Why a process and not a thread: a run blocks its thread and cannot be ended without aborting the process it is
 * in; and large outputs are only cheap if the allocator keeps their memory, which it must be told at start.
 * Requests are answered in order, and a failed one fails alone.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { usableCores } from '../core/cores.node.ts';
import { fail, GraftError, messageOf } from '../core/errors.ts';
import { float32 } from '../core/tensor.ts';
import { blockOf, blockProbe } from '../onnx/block_probe.ts';
import { findRuntime } from './onnxruntime.node.ts';
import type {
  Binding,
  Device,
  EngineOptions,
  Envelope,
  KeptRows,
  Reply,
  Request,
  Tensors,
} from './protocol.ts';
import { SharedMemory } from './shared.node.ts';
import { type Message, receive, send } from './wire.node.ts';

export type { Binding, Device, KeptRows, Tensors } from './protocol.ts';
export { devices } from './protocol.ts';

/** A loaded graph. Valid until it is released or its engine is closed. */
export interface Session {
  /**
   * Runs the graph. `feeds` are the inputs that are not bound to state; do not change them meanwhile. Inputs that are
   * `rows` of a data set are fed once: the engine keeps them until `forgetRows`, for a graph that gathers them.
   */
  run(feeds: Tensors, rows?: KeptRows | null): Promise<Tensors>;
  release(): Promise<void>;
}

interface Pending {
  resolve(message: Message): void;
  reject(error: Error): void;
  /** Where the request is in shared memory. */
  readonly place: number | null;
}

/**
 * glibc gives memory above these thresholds back at every free, and fresh pages cost a fault each: 100 ms for an
 * output of 100 MB. It asks for huge pages where the system gives them to who asks, which is most systems' default:
 * maps of some megabytes are walked through up to twice as fast. Other allocators ignore the variables.
 */
const allocatorSettings = {
  MALLOC_MMAP_THRESHOLD_: '1073741824',
  MALLOC_TRIM_THRESHOLD_: '8589934592',
  GLIBC_TUNABLES: [process.env['GLIBC_TUNABLES'], 'glibc.malloc.hugetlb=1'].filter(Boolean).join(':'),
};

/** From 1.29 on the runtime sends telemetry (macOS, Linux) and writes a device id unless it is told not to. */
const noTelemetry = { ORT_DISABLE_TELEMETRY: '1' };

/** What `Engine.start` may be told. */
export interface StartOptions extends EngineOptions {
  /**
   * Called once if the process ends without having been asked to. What it returns, a sentence about what was lost with
   * it or nothing, is added to the error that requests get; `waiting` says whether one is there to get it.
   */
  readonly onDeath?: (waiting: boolean) => string;
}

/** Processes to be ended with this one. Their lifelines end them too, a moment later. */
const processes = new Set<ChildProcess>();

function endAll(): void {
  for (const child of processes) child.kill('SIGKILL');
}

export class Engine {
  readonly device: Device;
  readonly #child: ChildProcess;
  readonly #stream: Duplex;
  readonly #shared: SharedMemory | null;
  readonly #onDeath: (waiting: boolean) => string;
  readonly #pending = new Map<number, Pending>();
  readonly #gone: Promise<void>;
  #block: Promise<number> | null = null;
  #nextId = 0;
  #ended: Error | null = null;

  private constructor({ device, threads, quiet = false, onDeath = () => '' }: StartOptions) {
    this.device = device;
    this.#onDeath = onDeath;
    this.#shared = SharedMemory.open();
    try {
      this.#child = startProcess([device, String(threads)], quiet, this.#shared);
    } catch (error) {
      this.#shared?.close();
      throw error;
    }
    const [, , , stream, lifeline] = this.#child.stdio as unknown as readonly (Duplex & Held)[];
    this.#stream = stream!;
    receive(this.#stream, (message) => this.#receive(message));
    // What went wrong is said by the end of the process, below.
    for (const pipe of [stream!, lifeline!]) pipe.on('error', () => undefined);
    lifeline!.unref();
    this.#child.on('error', (error) => this.#end(couldNotStart(error)));
    // Not at 'exit': answers may still be in the pipe then.
    this.#child.on('close', (code, signal) => this.#end(howItEnded(code, signal)));
    this.#gone = new Promise((resolve) => this.#child.once('close', () => resolve()));
    if (processes.size === 0) process.on('exit', endAll);
    processes.add(this.#child);
    // An idle engine does not keep the caller's process alive; a pending request does.
    this.#hold(false);
  }

  /**
   * Starts an engine. `threads` defaults to the cores that may be used. A missing device shows at the first `load`;
   * throws `unsupported` where the runtime has no binary for this machine.
   */
  static start({ device = 'cpu', threads = usableCores(), ...others }: Partial<StartOptions> = {}): Engine {
    // Where no runtime can be loaded, the process could only say so in its own words.
    findRuntime();
    return new Engine({ device, threads, ...others });
  }

  /** The engine's process id, for measuring its memory. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Loads an ONNX model. Throws `device` if the engine's device is not there. */
  async load(
    model: Uint8Array,
    { reads = {}, writes = {}, arena = true, inPlace = false, optimize = true }: Partial<Binding> = {},
  ): Promise<Session> {
    const binding = { reads, writes, arena, inPlace, optimize };
    const { body } = await this.#ask({ type: 'load', binding }, {}, model);
    const session = (body as Reply).session!;
    return {
      run: async (feeds, rows = null) => (await this.#ask({ type: 'run', session, rows }, feeds)).tensors,
      release: async () => {
        await this.#ask({ type: 'release', session });
      },
    };
  }

  /** Channels of a block in the layout of the runtime's own convolutions; 0 where there is none. */
  channelBlock(): Promise<number> {
    this.#block ??= this.device === 'cpu' ? this.#probeBlock() : Promise.resolve(0);
    return this.#block;
  }

  async #probeBlock(): Promise<number> {
    const session = await this.load(blockProbe());
    const { y } = await session.run({ x: float32([1, 4, 1, 1], new Float32Array(4)) });
    await session.release();
    return blockOf(y!.shape);
  }

  /** Sets state tensors. */
  async write(tensors: Tensors): Promise<void> {
    await this.#ask({ type: 'write' }, tensors);
  }

  /** Copies state tensors out of the engine. Throws `state` if one is unknown. */
  async read(names: readonly string[]): Promise<Tensors> {
    return (await this.#ask({ type: 'read', names })).tensors;
  }

  /** Frees state tensors. */
  async forget(names: readonly string[]): Promise<void> {
    await this.#ask({ type: 'forget', names });
  }

  /** Frees the rows that runs have kept. */
  async forgetRows(): Promise<void> {
    await this.#ask({ type: 'forgetRows' });
  }

  /** Lets what was asked before finish, then ends the process. Closing twice is allowed. */
  async close(): Promise<void> {
    if (this.#ended === null) {
      this.#ended = new GraftError('state', 'The engine is closed.');
      this.#hold(true);
      this.#stream.end();
    }
    await this.#gone;
  }

  /** Ends the process at once, whatever it computes. What was asked of it, and will be, fails with this error. */
  async kill(error: Error): Promise<void> {
    this.#ended ??= error;
    this.#child.kill('SIGKILL');
    await this.#gone;
  }

  #ask(request: Request, tensors: Tensors = {}, bytes: Uint8Array | null = null): Promise<Message> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    const envelope: Envelope = { id: this.#nextId++, request };
    return new Promise((resolve, reject) => {
      this.#hold(true);
      const place = send(this.#stream, { body: envelope, tensors, bytes }, this.#shared);
      this.#pending.set(envelope.id, { resolve, reject, place });
    });
  }

  #receive(message: Message): void {
    const { id, error } = message.body as Reply;
    const pending = this.#pending.get(id)!;
    this.#pending.delete(id);
    if (pending.place !== null) this.#shared!.release(pending.place);
    if (this.#pending.size === 0 && this.#ended === null) this.#hold(false);
    if (error !== undefined) pending.reject(new GraftError(error.code, error.message));
    else pending.resolve(message);
  }

  #end(reason: string): void {
    // A process that could not start is said to have closed as well.
    if (!processes.delete(this.#child)) return;
    if (processes.size === 0) process.off('exit', endAll);
    this.#shared?.close();
    if (this.#ended === null) {
      const lost = this.#onDeath(this.#pending.size > 0);
      this.#ended = new GraftError('device', [reason, lost].filter(Boolean).join(' '));
    }
    for (const { reject } of this.#pending.values()) reject(this.#ended);
    this.#pending.clear();
  }

  #hold(alive: boolean): void {
    const handles: readonly Held[] = [this.#child, this.#stream as unknown as Held];
    for (const handle of handles) alive ? handle.ref() : handle.unref();
  }
}

/** What keeps this process alive or does not. */
interface Held {
  ref(): void;
  unref(): void;
}

/** Throws `device` if the system gives no more processes, memory or descriptors. */
function startProcess(args: readonly string[], quiet: boolean, shared: SharedMemory | null): ChildProcess {
  let child: ChildProcess;
  try {
    child = spawn(process.execPath, [processPath(), ...args], {
      stdio: [
        'ignore',
        'inherit',
        quiet ? 'ignore' : 'inherit',
        'pipe',
        'pipe',
        ...(shared === null ? [] : [shared.fd]),
      ],
      env: { ...process.env, ...allocatorSettings, ...noTelemetry },
      // Ctrl-C, a closed terminal and `timeout` signal a whole group of processes. When to stop is this one's decision,
      // and one that is just starting could not ignore a signal yet.
      detached: true,
    });
  } catch (error) {
    return fail('device', couldNotStart(error), error);
  }
  if (child.stdio !== undefined) return child;
  // Node gives no pipes where there are no descriptors left for them, and the reason only as an event.
  child.on('error', () => undefined);
  return fail('device', couldNotStart('too many files are open; raise the limit (ulimit -n)'));
}

function couldNotStart(reason: unknown): string {
  return `The engine's process could not start: ${messageOf(reason).replace(/\.$/, '')}.`;
}

function howItEnded(code: number | null, signal: NodeJS.Signals | null): string {
  const reason = `The engine's process ended (${signal ?? `exit code ${code}`}).`;
  return signal === 'SIGKILL' ? `${reason} The system does that when memory runs out.` : reason;
}

/** The process runs plain JavaScript: from sources (tests) that is what the build wrote. */
function processPath(): string {
  const own = import.meta.url;
  return fileURLToPath(
    new URL(own.endsWith('.ts') ? '../../dist/runtime/process.node.js' : './process.node.js', own),
  );
}
