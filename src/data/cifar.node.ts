/**
 * CIFAR-10 and CIFAR-100 (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html): 60,000 photographs
 * of 32x32 pixels, 50,000 for training and 10,000 for testing, in the publisher's order and split.
 */
import { join } from 'node:path';
import { checked, fields, oneOf, optional } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { type Asset, type AssetOptions, assetEntries, fetchSource, resolveAsset } from './assets.node.ts';
import { cacheFolder } from './cache.node.ts';
import { type CifarLayout, isUnpacked, readNames, unpack } from './cifar-binary.node.ts';
import type { Dataset } from './dataset.ts';
import { recordDataset } from './record-files.node.ts';

/** What a data set's publisher split it into. */
export interface Splits {
  readonly train: Dataset;
  /** Where there are pictures to choose by, apart from those to test on. */
  readonly validation?: Dataset;
  readonly test: Dataset;
}

export const cifar10Asset: Asset = {
  id: 'cifar10/binary',
  url: 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
  file: 'cifar-10-binary.tar.gz',
  sha256: 'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd',
  bytes: 170_052_171,
};

export const cifar100Asset: Asset = {
  id: 'cifar100/binary',
  url: 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
  file: 'cifar-100-binary.tar.gz',
  sha256: '58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec',
  bytes: 168_513_733,
};

const cifar10Layout: CifarLayout = {
  name: 'cifar10',
  labels: [{ names: 'batches.meta.txt', classes: 10 }],
  train: [1, 2, 3, 4, 5].map((i) => ({ file: `data_batch_${i}.bin`, records: 10_000 })),
  test: [{ file: 'test_batch.bin', records: 10_000 }],
};

const cifar100Layout: CifarLayout = {
  name: 'cifar100',
  labels: [
    { names: 'coarse_label_names.txt', classes: 20 },
    { names: 'fine_label_names.txt', classes: 100 },
  ],
  train: [{ file: 'train.bin', records: 50_000 }],
  test: [{ file: 'test.bin', records: 10_000 }],
};

/** CIFAR-10: ten classes (airplane … truck), 5,000 training and 1,000 test pictures of each. */
export const cifar10 = {
  /**
   * Both splits: x uint8 [n, 32, 32, 3], y int32 [n]. The first call downloads 170 MB (or reads a mirror's
   * archive) and unpacks 184 MB into the cache; later ones only look at file sizes.
   *
   * @throws as `fetchAsset`, and `data` when the archive does not hold CIFAR-10
   */
  async load(options: AssetOptions = {}): Promise<Splits> {
    const given = checked(cifar10Options, options, 'datasets.cifar10.load');
    return openCifar(cifar10Asset, cifar10Layout, 0, given);
  },
};

/** In the order of the labels of a record. */
const labelModes = ['coarse', 'fine'] as const;

const cifar10Options = fields(assetEntries);
const cifar100Options = fields({ ...assetEntries, labelMode: optional(oneOf(...labelModes), 'fine') });

/** CIFAR-100: a hundred classes (`fine`) in twenty groups (`coarse`). */
export const cifar100 = {
  /**
   * Both splits, as with `cifar10.load`.
   *
   * @param options.labelMode 'fine' (the default: 100 classes) or 'coarse' (20)
   */
  async load(options: AssetOptions & { readonly labelMode?: 'fine' | 'coarse' } = {}): Promise<Splits> {
    const { labelMode, ...given } = checked(cifar100Options, options, 'datasets.cifar100.load');
    return openCifar(cifar100Asset, cifar100Layout, labelModes.indexOf(labelMode), given);
  },
};

/**
 * Any archive in the CIFAR format, unpacked if need be.
 *
 * @param label which of the layout's label bytes counts
 */
export async function openCifar(
  asset: Asset,
  layout: CifarLayout,
  label: number,
  options: AssetOptions,
): Promise<Splits> {
  const source = await resolveAsset(asset, options);
  const { algorithm, digest } =
    source.checksum ??
    fail('argument', `${asset.id}: an archive needs a checksum, which names what is unpacked.`);
  const folder = join(cacheFolder(options.cacheDir), 'datasets', `${layout.name}-${digest.slice(0, 16)}`);
  if (!(await isUnpacked(folder, layout))) {
    const archive = await fetchSource(source, options);
    const onBytes = (done: number, total: number) =>
      options.onProgress?.({ phase: 'extract', id: asset.id, done, total });
    await unpack(archive, folder, layout, { onBytes, signal: options.signal });
  }
  const counted = layout.labels[label] ?? fail('argument', `${layout.name} has no label ${label}.`);
  const classNames = await readNames(folder, counted);
  const split = (name: 'train' | 'test') =>
    recordDataset(folder, layout[name], {
      name: `${layout.name}/${name}`,
      classNames,
      fingerprint: `${layout.name}/${name}/${counted.names}:${algorithm}:${digest}`,
      labelBytes: layout.labels.length,
      label,
    });
  return { train: split('train'), test: split('test') };
}
