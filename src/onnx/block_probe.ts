/** Asks the runtime how many channels a block of its own layout has on this processor. */
import { elementTypes, encodeModel } from './proto.ts';

const channels = 4;

/** Reorders a map x of these four channels, [1, 4, 1, 1]; y has as many as one block. */
export function blockProbe(): Uint8Array {
  const elemType = elementTypes.float32;
  const shape = { dim: [1, channels, 1, 1].map((dimValue) => ({ dimValue })) };
  return encodeModel({
    irVersion: 9,
    producerName: 'graft',
    opsetImport: [
      { domain: '', version: 20 },
      { domain: 'com.microsoft.nchwc', version: 1 },
    ],
    metadataProps: [],
    graph: {
      name: 'block',
      node: [
        {
          opType: 'ReorderInput',
          name: 'reorder',
          domain: 'com.microsoft.nchwc',
          input: ['x'],
          output: ['y'],
          attribute: [],
        },
      ],
      initializer: [],
      input: [{ name: 'x', type: { tensorType: { elemType, shape } } }],
      output: [{ name: 'y', type: { tensorType: { elemType } } }],
    },
  });
}

/** The block from the shape of y; 0 where the runtime has no such layout, which leaves the channels as they are. */
export function blockOf(shape: readonly number[]): number {
  return shape[1] === channels ? 0 : shape[1]!;
}
