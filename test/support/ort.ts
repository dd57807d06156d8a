/** ONNX Runtime itself, for tests that hold Graft against it. */
import { loadRuntime } from '../../src/runtime/onnxruntime.node.ts';

export const ort = loadRuntime();
