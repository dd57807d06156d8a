/** Tensors with names, and the one conversion every reader of weights needs. */
import { fail } from '../core/errors.ts';
import { fromFloat16 } from '../core/float16.ts';
import { float32, type Tensor, tensor } from '../core/tensor.ts';

/** A tensor under the name that a file gives it. */
export interface NamedTensor {
  readonly name: string;
  readonly tensor: Tensor;
}

/**
 * The values of a tensor as float32: the tensor itself if it is float32, else a copy. Integers above 2^24 are
 * rounded; an int64 beyond 2^53 is refused with `data`, because it cannot be a weight.
 */
export function asFloat32(source: Tensor): Tensor<'float32'> {
  switch (source.dtype) {
    case 'float32':
      return source as Tensor<'float32'>;
    case 'float16':
      return tensor('float32', source.shape, fromFloat16(source.data as Uint16Array));
    case 'int64':
      return tensor('float32', source.shape, Float32Array.from(source.data as BigInt64Array, safeNumber));
    default:
      return float32(source.shape, source.data as Int32Array | Uint8Array | Int8Array);
  }
}

function safeNumber(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) fail('data', `The int64 value ${value} is too large for a weight.`);
  return number;
}
