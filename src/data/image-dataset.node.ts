/** Picture files as a data set: each is read and decoded when it is asked for, several at a time. */
import { randomUUID } from 'node:crypto';
import { fail } from '../core/errors.ts';
import { sizeOf, type Tensor, tensor } from '../core/tensor.ts';
import { checkIndices, type Dataset } from './dataset.ts';
import { decodeBytes, decodeImage, type ImageSize, readImage, troubleOf } from './image.node.ts';
import { inLanes, sha256Of } from './image-scan.node.ts';

/** A picture of a data set. */
export interface ImageFile {
  readonly path: string;
  /** For messages and reports: relative to the folder. */
  readonly name: string;
  readonly label: number;
  /** The content when the data set was opened; null: nobody looked. */
  readonly sha256: string | null;
}

/** A data set that knows its files and labels without reading them. */
export interface ImageDataset extends Dataset {
  readonly files: readonly ImageFile[];
  readonly labels: Int32Array;
}

export interface ImageDatasetOptions {
  readonly name: string;
  readonly classNames: readonly string[] | null;
  readonly size: ImageSize;
}

/**
 * The pictures of some files, decoded as `decodeImage` does, in their order. Memory: the rows that are being read.
 *
 * Reading throws `data` for a picture that cannot be decoded, or that is not the one of which `sha256` tells.
 */
export function imageDataset(files: readonly ImageFile[], options: ImageDatasetOptions): ImageDataset {
  const { name, classNames, size } = options;
  const shape = [size.height, size.width, 3];
  const labels = Int32Array.from(files, ({ label }) => label);
  let fingerprint: string | null = null;
  let sources: string | null = null;
  return {
    name,
    shape: [files.length, ...shape],
    dtype: 'uint8',
    classNames,
    files,
    labels,
    names: files.map(({ name }) => name),
    get fingerprint() {
      fingerprint ??= fingerprintOf(files, options);
      return fingerprint;
    },
    get sources() {
      sources ??= digestOf(files, [classNames]);
      return sources;
    },
    async read(indices) {
      checkIndices(indices, files.length, name);
      const x = tensor('uint8', [indices.length, ...shape]);
      await inLanes(indices.length, async (i) => {
        const { data } = await decode(files[indices[i]!]!, size);
        x.data.set(data, i * sizeOf(shape));
      });
      return {
        x,
        y: tensor(
          'int32',
          [indices.length],
          Int32Array.from(indices, (index) => labels[index]!),
        ),
      };
    },
  };
}

async function decode({ path, name, sha256 }: ImageFile, size: ImageSize): Promise<Tensor<'uint8'>> {
  if (sha256 === null) return decodeImage(path, size);
  const file = await readImage(path).catch((error) =>
    fail('data', `${name} could be read when the data set was opened. Now ${troubleOf(error).reason}`, error),
  );
  if (sha256Of(file) !== sha256)
    fail('data', `${name} has changed since the data set was opened. Start again.`);
  return decodeBytes(file, name, size);
}

function fingerprintOf(files: readonly ImageFile[], { classNames, size }: ImageDatasetOptions): string {
  const { height, width, cropToAspectRatio = false, padToAspectRatio = false } = size;
  return digestOf(files, [height, width, cropToAspectRatio, padToAspectRatio, classNames]);
}

/** Of contents, not of paths: a folder may move. Nothing is like contents that nobody knows. */
function digestOf(files: readonly ImageFile[], reading: readonly unknown[]): string {
  if (files.some(({ sha256 }) => sha256 === null)) return `pictures:${randomUUID()}`;
  const contents = files.map(({ label, sha256 }) => [label, sha256]);
  return `pictures:${sha256Of(Buffer.from(JSON.stringify([...reading, contents])))}`;
}
