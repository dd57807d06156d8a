/** The smallest model that works a device: c = a · b. */
import { elementTypes, encodeModel } from './proto.ts';

export function productModel(size: number): Uint8Array {
  const shape = { dim: [{ dimValue: size }, { dimValue: size }] };
  const value = (name: string) => ({ name, type: { tensorType: { elemType: elementTypes.float32, shape } } });
  return encodeModel({
    irVersion: 9,
    producerName: 'graft',
    opsetImport: [{ domain: '', version: 20 }],
    metadataProps: [],
    graph: {
      name: 'product',
      node: [{ opType: 'MatMul', name: 'product', input: ['a', 'b'], output: ['c'], attribute: [] }],
      initializer: [],
      input: [value('a'), value('b')],
      output: [value('c')],
    },
  });
}
