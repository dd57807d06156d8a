/**
 * The engine's process: owns ONNX Runtime sessions and the state that they share. On a device with its own
 * memory the state lives in its buffers, which must be freed by hand.
 *
 * Arguments: device, threads. File descriptor 3 carries the messages; when it ends, the process does, after what was
 * asked before. Descriptor 4 closes with the parent (`lifeline.node.ts`). Descriptor 5, if there is one, is the memory in
 * which large messages lie.
 */
import { Socket } from 'node:net';
import { MessageChannel, Worker } from 'node:worker_threads';
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-common';
import { outliveTerminal } from '../core/console.node.ts';
import { fail, GraftError, messageOf } from '../core/errors.ts';
import type { DType, Tensor } from '../core/tensor.ts';
import { identityModel } from '../onnx/identity.ts';
import { findRuntime, loadRuntime } from './onnxruntime.node.ts';
import type { Binding, Device, Envelope, Reply, Request, Tensors } from './protocol.ts';
import { RowSets } from './row_sets.ts';
import { type Message, receive, send } from './wire.node.ts';

// Where Float16Array exists (Node 24), the runtime's JavaScript insists on it and its native side then reads no values.
// Without it, both take the bits as Uint16Array. This process is ours alone.
Reflect.deleteProperty(globalThis, 'Float16Array');

interface Loaded {
  readonly session: InferenceSession;
  readonly binding: Binding;
}

interface Answer {
  readonly session?: number;
  readonly tensors?: Tensors;
}

new Worker(new URL('./lifeline.node.js', import.meta.url), { workerData: { fd: 4 } });

const ort = loadRuntime();
const device = process.argv[2] as Device;
const threads = Number(process.argv[3]);
// Half open: answers still go out after the caller has said that nothing more will come.
const stream = new Socket({ fd: 3, allowHalfOpen: true });
const sessions = new Map<number, Loaded>();
const state = new Map<string, OrtTensor>();
const rowSets = new RowSets();
let uploads: InferenceSession | null = null;
const downloads = new Map<string, InferenceSession>();
let nextSession = 0;

async function createSession(
  model: Uint8Array,
  { writes = {}, arena = true, optimize = true }: Partial<Binding> = {},
): Promise<InferenceSession> {
  const stateOutputs = Object.keys(writes);
  const onDevice = device === 'webgpu' && stateOutputs.length > 0;
  const locations = Object.fromEntries(stateOutputs.map((name) => [name, 'gpu-buffer' as const]));
  try {
    return await ort.InferenceSession.create(model, {
      executionProviders: [device],
      // Without a number the runtime may use one core only.
      intraOpNumThreads: threads,
      graphOptimizationLevel: optimize ? 'all' : 'disabled',
      // What the runtime would print on stderr, its errors say too.
      logSeverityLevel: 4,
      // One block for all values of a run would stay reserved beside the arena that new values take.
      enableMemPattern: false,
      enableCpuMemArena: arena,
      // Waiting threads sleep instead of burning the cores that load the next batch.
      extra: { session: { intra_op: { allow_spinning: '0' } } },
      ...(onDevice ? { preferredOutputLocation: locations } : {}),
    });
  } catch (error) {
    if (device === 'cpu') throw error;
    const text = messageOf(error)
      .trim()
      // Where in its sources the runtime looked helps nobody here.
      .replace(/^\/\S+\.(cc|h):\d+ .* was false\. /, '')
      .replace(/[.:]?$/, '.');
    const missing = /adapter|provider|backend|not supported|libonnxruntime|cuda/i.test(text);
    if (missing) fail('device', `The device "${device}" is not available: ${text} ${deviceAdvice[device]}`);
    throw error;
  }
}

const deviceAdvice = {
  webgpu: 'It needs a GPU with a Vulkan, Metal or Direct3D 12 driver; use --device cpu otherwise.',
  cuda:
    'It needs Linux on x64, an NVIDIA GPU, CUDA 12 or newer, and the CUDA libraries of onnxruntime-node, which its ' +
    `install script fetches: ${cudaCommand()}. Use --device cpu otherwise.`,
};

function cudaCommand(): string {
  const { vendored, version } = findRuntime();
  return vendored
    ? `npm install onnxruntime-node@${version}`
    : 'npm rebuild onnxruntime-node --ignore-scripts=false';
}

async function answer(request: Request, tensors: Tensors, bytes: Uint8Array | null): Promise<Answer> {
  switch (request.type) {
    case 'load': {
      const session = await createSession(bytes!, request.binding);
      sessions.set(nextSession, { session, binding: request.binding });
      return { session: nextSession++ };
    }
    case 'run':
      return {
        tensors: await run(
          request.session,
          request.rows === null ? tensors : rowSets.complete(tensors, request.rows),
        ),
      };
    case 'forgetRows':
      rowSets.clear();
      return {};
    case 'release':
      await sessions.get(request.session)?.session.release();
      sessions.delete(request.session);
      return {};
    case 'write':
      for (const [name, tensor] of Object.entries(tensors)) replaceState(name, await upload(toOrt(tensor)));
      return {};
    case 'read': {
      const copies: Record<string, Tensor> = {};
      for (const name of request.names) copies[name] = await download(stateTensor(name));
      return { tensors: copies };
    }
    case 'forget':
      for (const name of request.names) {
        const old = state.get(name);
        state.delete(name);
        if (old !== undefined) release(old);
      }
      return {};
  }
}

async function run(id: number, feeds: Tensors): Promise<Tensors> {
  const { session, binding } = sessions.get(id) ?? fail('state', 'This session has been released.');
  const inputs: Record<string, OrtTensor> = {};
  for (const [name, tensor] of Object.entries(feeds)) inputs[name] = toOrt(tensor);
  for (const [name, source] of Object.entries(binding.reads)) inputs[name] = stateTensor(source);
  checkInputs(session, inputs);
  const outputs: Record<string, Tensor> = {};
  const results = binding.inPlace ? session.run(inputs, inPlace(session, binding)) : session.run(inputs);
  for (const [name, result] of Object.entries(await results)) {
    const target = binding.writes[name];
    if (target === undefined) outputs[name] = fromOrt(result);
    else replaceState(target, result);
  }
  return outputs;
}

/** All outputs; those that replace state get its memory. */
function inPlace(
  { outputNames }: InferenceSession,
  { writes }: Binding,
): InferenceSession.NullableOnnxValueMapType {
  const placeOf = (name: string) => (name in writes ? stateTensor(writes[name]!) : null);
  return Object.fromEntries(outputNames.map((name) => [name, placeOf(name)]));
}

/** The runtime's own words for these failures do not say what the graph wants. */
function checkInputs({ inputMetadata }: InferenceSession, inputs: Readonly<Record<string, OrtTensor>>): void {
  const names = inputMetadata.map(({ name }) => name);
  for (const name of Object.keys(inputs)) {
    if (!names.includes(name)) {
      fail('argument', `The graph has no input "${name}"; its inputs are: ${names.join(', ')}.`);
    }
  }
  for (const input of inputMetadata) {
    const given = inputs[input.name] ?? fail('argument', `Input "${input.name}" was not fed.`);
    if (!input.isTensor) continue;
    if (given.type !== input.type) {
      fail('shape', `Input "${input.name}" needs dtype ${input.type}, got ${given.type}.`);
    }
    const fits =
      given.dims.length === input.shape.length &&
      input.shape.every((dim, axis) => typeof dim === 'string' || dim === given.dims[axis]);
    if (!fits) {
      fail(
        'shape',
        `Input "${input.name}" needs shape [${input.shape.join(', ')}], got [${given.dims.join(', ')}].`,
      );
    }
  }
}

function stateTensor(name: string): OrtTensor {
  return state.get(name) ?? fail('state', `The engine has no state named "${name}".`);
}

function replaceState(name: string, tensor: OrtTensor): void {
  const old = state.get(name);
  state.set(name, tensor);
  // The old value was an input of the run that made the new one, so it is free now.
  if (old !== undefined) release(old);
}

/** Frees a tensor's memory now instead of at some later garbage collection. */
function release(tensor: OrtTensor): void {
  if (tensor.location !== 'cpu') {
    tensor.dispose();
    return;
  }
  const { buffer } = tensor.data as Float32Array;
  if (!(buffer instanceof ArrayBuffer)) return;
  // A buffer that is transferred to a closed port is detached and freed.
  const { port1, port2 } = new MessageChannel();
  port2.close();
  port1.postMessage(null, [buffer]);
  port1.close();
}

function toOrt({ dtype, shape, data }: Tensor): OrtTensor {
  return new ort.Tensor(dtype as 'float32', data as Float32Array, shape);
}

function fromOrt(tensor: OrtTensor): Tensor {
  return { dtype: tensor.type as DType, shape: tensor.dims, data: tensor.data as Float32Array };
}

/** Weights that are only read would otherwise cross to the device at every run. */
async function upload(tensor: OrtTensor): Promise<OrtTensor> {
  if (device !== 'webgpu' || tensor.type !== 'float32' || tensor.size === 0) return tensor;
  uploads ??= await createSession(identityModel('float32'), { writes: { y: 'y' } });
  return (await uploads.run({ x: tensor }))['y']!;
}

/** A tensor in main memory. Device buffers come back as the output of an identity graph. */
async function download(tensor: OrtTensor): Promise<Tensor> {
  if (tensor.location === 'cpu') return fromOrt(tensor);
  let session = downloads.get(tensor.type);
  if (session === undefined) {
    session = await createSession(identityModel(tensor.type as DType));
    downloads.set(tensor.type, session);
  }
  return fromOrt((await session.run({ x: tensor }))['y']!);
}

async function handle({ body, tensors, bytes }: Message): Promise<void> {
  const { id, request } = body as Envelope;
  let reply: Reply;
  let results: Tensors = {};
  try {
    const { session, tensors: fetched } = await answer(request, tensors, bytes);
    results = fetched ?? {};
    reply = { id, ...(session === undefined ? {} : { session }) };
  } catch (error) {
    reply = {
      id,
      error: { code: error instanceof GraftError ? error.code : 'state', message: messageOf(error) },
    };
  }
  if (stream.writable) {
    // State that was read must not be replaced before it is on its way.
    await new Promise<void>((resolve) => {
      send(stream, { body: reply, tensors: results, bytes: null });
      stream.write('', () => resolve());
    });
  }
}

// Ctrl-C, a closed terminal and `timeout` reach the whole group of processes; when to stop is the parent's decision.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
outliveTerminal();

// Requests are answered strictly in order; a failed one has been answered and does not stop the next.
let queue = Promise.resolve();
receive(
  stream,
  (message) => {
    queue = queue.then(() => handle(message));
  },
  5,
);
stream.on('error', () => process.exit(1));
stream.on('end', () => {
  queue = queue.then(() => process.exit(0));
});
