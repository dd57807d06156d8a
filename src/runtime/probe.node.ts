/** Whether a device is there, starts and computes what it should. */
import { fail } from '../core/errors.ts';
import { type Tensor, tensor } from '../core/tensor.ts';
import { productModel } from '../onnx/product.ts';
import { Engine } from './engine.node.ts';
import type { EngineOptions } from './protocol.ts';

const size = 512;
/** Products that are timed; the quickest counts. */
const rounds = 5;
/** Every eighth row is computed again in JavaScript, as it takes longest there. */
const rowStep = 8;

export interface Probe {
  /** 10⁹ operations a second in float32, from the quickest product of 512x512 matrices. */
  readonly gigaflops: number;
}

/**
 * Multiplies two matrices of small whole numbers on a device and compares every eighth row exactly: sums stay below
 * 2²⁴. Throws `device` if the device is not there or computes something else.
 */
export async function probeDevice({ device, threads }: EngineOptions): Promise<Probe> {
  const engine = Engine.start({ device, threads, quiet: true });
  try {
    const [a, b] = [matrix((row, column) => ((row * 7 + column * 3) % 13) - 6), matrix(spread)];
    // Bound to state: nothing crosses between processes while time is taken.
    const session = await engine.load(productModel(size), {
      reads: { a: 'a', b: 'b' },
      writes: { c: 'c' },
    });
    await engine.write({ a, b });
    let quickest = Number.POSITIVE_INFINITY;
    for (let round = 0; round < rounds; round++) {
      const start = performance.now();
      await session.run({});
      quickest = Math.min(quickest, performance.now() - start);
    }
    const { c } = await engine.read(['c']);
    checkProduct(a, b, c as Tensor<'float32'>, device);
    return { gigaflops: (2 * size ** 3) / quickest / 1e6 };
  } finally {
    await engine.close();
  }
}

function matrix(value: (row: number, column: number) => number): Tensor<'float32'> {
  const data = Float32Array.from({ length: size * size }, (_, i) => value(Math.floor(i / size), i % size));
  return tensor('float32', [size, size], data);
}

function spread(row: number, column: number): number {
  return ((row * row + column * 5) % 11) - 5;
}

/** Throws `device` naming the first element that is wrong. */
export function checkProduct(
  a: Tensor<'float32'>,
  b: Tensor<'float32'>,
  c: Tensor<'float32'>,
  device: string,
): void {
  for (let row = 0; row < size; row += rowStep) {
    for (let column = 0; column < size; column++) {
      let expected = 0;
      for (let k = 0; k < size; k++) expected += a.data[row * size + k]! * b.data[k * size + column]!;
      const came = c.data[row * size + column];
      if (came !== expected)
        fail(
          'device',
          `The device "${device}" computes wrongly: element (${row}, ${column}) of a product of whole numbers is ` +
            `${came}, expected ${expected}. Update its driver, or use another --device.`,
        );
    }
  }
}
