/**
 * The engine's thread: owns ONNX Runtime sessions and the state that they share. On a device with its own
 * memory the state lives in its buffers, which must be freed by hand.
 */
import { parentPort, workerData } from 'node:worker_threads';
import * as ort from 'onnxruntime-node';
import { fail, GraftError, messageOf } from '../core/errors.ts';
import type { DType, Tensor } from '../core/tensor.ts';
import { identityModel } from '../onnx/identity.ts';
import type { Answers, Binding, EngineOptions, Envelope, Reply, Request, Tensors } from './protocol.ts';

interface Loaded {
  readonly session: ort.InferenceSession;
  readonly binding: Binding;
}

const options = workerData as EngineOptions;
const port = parentPort!;
const sessions = new Map<number, Loaded>();
const state = new Map<string, ort.Tensor>();
const downloads = new Map<string, ort.InferenceSession>();
let nextSession = 0;

async function createSession(
  model: Uint8Array,
  stateOutputs: readonly string[],
): Promise<ort.InferenceSession> {
  const onDevice = options.device === 'webgpu' && stateOutputs.length > 0;
  const locations = Object.fromEntries(stateOutputs.map((name) => [name, 'gpu-buffer' as const]));
  try {
    return await ort.InferenceSession.create(model, {
      executionProviders: [options.device],
      // Without a number the runtime may use one core only.
      intraOpNumThreads: options.threads,
      graphOptimizationLevel: 'all',
      logSeverityLevel: 3,
      ...(onDevice ? { preferredOutputLocation: locations } : {}),
    });
  } catch (error) {
    const text = messageOf(error);
    if (options.device === 'cpu') throw error;
    if (/adapter|provider|backend|not supported|libonnxruntime_providers|cuda/i.test(text)) {
      fail(
        'device',
        `The device "${options.device}" is not available: ${text}. ${deviceAdvice[options.device]}`,
      );
    }
    throw error;
  }
}

const deviceAdvice = {
  webgpu: 'It needs a GPU with a Vulkan, Metal or Direct3D 12 driver; use --device cpu otherwise.',
  cuda:
    'It needs an NVIDIA GPU, CUDA 12 or newer, and the CUDA libraries of onnxruntime-node, which its own install ' +
    'script fetches: npm rebuild onnxruntime-node --ignore-scripts=false. Use --device cpu otherwise.',
};

const handlers: { [K in Request['type']]: (request: Request & { type: K }) => Promise<Answers[K]> } = {
  async load({ model, binding }) {
    const session = await createSession(model, Object.keys(binding.writes));
    sessions.set(nextSession, { session, binding });
    return nextSession++;
  },

  async run({ session: id, feeds }) {
    const { session, binding } = sessions.get(id) ?? fail('state', 'This session has been released.');
    const inputs: Record<string, ort.Tensor> = {};
    for (const [name, tensor] of Object.entries(feeds)) inputs[name] = toOrt(tensor);
    for (const [name, source] of Object.entries(binding.reads)) inputs[name] = stateTensor(source);
    const results = await session.run(inputs);
    const outputs: Record<string, Tensor> = {};
    for (const [name, result] of Object.entries(results)) {
      const target = binding.writes[name];
      if (target === undefined) outputs[name] = fromOrt(result);
      else replaceState(target, result);
    }
    return outputs;
  },

  async release({ session: id }) {
    await sessions.get(id)?.session.release();
    sessions.delete(id);
    return null;
  },

  async write({ tensors }) {
    for (const [name, tensor] of Object.entries(tensors)) replaceState(name, toOrt(tensor));
    return null;
  },

  async read({ names }) {
    const copies: Record<string, Tensor> = {};
    for (const name of names) copies[name] = await download(stateTensor(name));
    return copies;
  },

  async forget({ names }) {
    for (const name of names) {
      state.get(name)?.dispose();
      state.delete(name);
    }
    return null;
  },

  async close() {
    for (const { session } of sessions.values()) await session.release();
    for (const session of downloads.values()) await session.release();
    for (const tensor of state.values()) tensor.dispose();
    sessions.clear();
    state.clear();
    return null;
  },
};

function stateTensor(name: string): ort.Tensor {
  return state.get(name) ?? fail('state', `The engine has no state named "${name}".`);
}

function replaceState(name: string, tensor: ort.Tensor): void {
  // The old buffer was an input of the run that made the new one, so it is free now.
  state.get(name)?.dispose();
  state.set(name, tensor);
}

function toOrt({ dtype, shape, data }: Tensor): ort.Tensor {
  return new ort.Tensor(dtype as 'float32', data as Float32Array, shape);
}

function fromOrt(tensor: ort.Tensor): Tensor {
  return { dtype: tensor.type as DType, shape: tensor.dims, data: tensor.data as Float32Array };
}

/** A copy in main memory. Device buffers come back as the output of an identity graph. */
async function download(tensor: ort.Tensor): Promise<Tensor> {
  if (tensor.location === 'cpu') {
    const { dtype, shape, data } = fromOrt(tensor);
    return { dtype, shape, data: data.slice() as Float32Array };
  }
  let session = downloads.get(tensor.type);
  if (session === undefined) {
    session = await createSession(identityModel(tensor.type as DType), []);
    downloads.set(tensor.type, session);
  }
  return fromOrt((await session.run({ x: tensor }))['y']!);
}

/** The buffers behind fetched outputs can move to the other thread instead of being copied. */
function movable(answer: Answers[keyof Answers]): ArrayBuffer[] {
  if (answer === null || typeof answer === 'number') return [];
  const buffers = Object.values(answer as Tensors).map(({ data }) => data.buffer);
  return [...new Set(buffers)].filter((buffer): buffer is ArrayBuffer => buffer instanceof ArrayBuffer);
}

async function handle({ id, request }: Envelope): Promise<void> {
  let reply: Reply;
  try {
    const handler = handlers[request.type] as (request: Request) => Promise<Answers[keyof Answers]>;
    reply = { id, answer: await handler(request) };
  } catch (error) {
    const code = error instanceof GraftError ? error.code : 'state';
    reply = { id, error: { code, message: messageOf(error) } };
  }
  port.postMessage(reply, 'answer' in reply ? movable(reply.answer) : []);
}

// Requests are answered strictly in order; a failed one has been answered and does not stop the next.
let queue = Promise.resolve();
port.on('message', (envelope: Envelope) => {
  queue = queue.then(() => handle(envelope));
});
