/** The smallest model there is: x in, y out. It copies a tensor out of a device's memory. */
import type { DType } from '../core/tensor.ts';
import { elementTypes, encodeModel } from './proto.ts';

export function identityModel(dtype: DType): Uint8Array {
  const tensorType = { elemType: elementTypes[dtype] };
  return encodeModel({
    irVersion: 9,
    producerName: 'graft',
    opsetImport: [{ domain: '', version: 20 }],
    metadataProps: [],
    graph: {
      name: 'identity',
      node: [{ opType: 'Identity', name: 'identity', input: ['x'], output: ['y'], attribute: [] }],
      initializer: [],
      input: [{ name: 'x', type: { tensorType } }],
      output: [{ name: 'y', type: { tensorType } }],
    },
  });
}
