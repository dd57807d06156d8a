/** The data sets that `--data` names: their classes are known before anything is read. */
import { type Dataset, datasets, lengthOf, limit, type Splits, splitValidation } from '../data/index.ts';
import { type Output, plural } from './output.ts';
import { showTransfers } from './transfers.ts';

export const dataNames = ['cifar10', 'cifar100'] as const;
export type DataName = (typeof dataNames)[number];

/** How many classes a data set has. */
export const classCounts: Readonly<Record<DataName, number>> = { cifar10: 10, cifar100: 100 };

export interface Selection {
  readonly data: DataName;
  readonly limit: number | null;
  readonly validationLimit: number | null;
  readonly validationSplit: number | null;
}

export interface LoadedData {
  /** What was there before limits. */
  readonly whole: Splits;
  readonly train: Dataset;
  /** Decides which epoch is the best. */
  readonly validation: Dataset;
  /** The test pictures, if they are not the validation already. */
  readonly test: Dataset | null;
  readonly classNames: readonly string[];
}

export async function loadSplits(name: DataName, mirror: string | undefined, out: Output): Promise<Splits> {
  const transfers = showTransfers(out.verbose);
  try {
    return await datasets[name].load({ mirror, onProgress: transfers.onProgress });
  } finally {
    transfers.end();
  }
}

export async function loadData(
  selection: Selection,
  mirror: string | undefined,
  out: Output,
): Promise<LoadedData> {
  const whole = await loadSplits(selection.data, mirror, out);
  const limited = limitTo(whole.train, selection.limit, '--limit', out);
  const test = limitTo(whole.test, selection.validationLimit, '--validation-limit', out);
  const classNames = whole.train.classNames!;
  if (selection.validationSplit === null) {
    return { whole, train: limited, validation: test, test: null, classNames };
  }
  const { train, validation } = splitValidation(limited, selection.validationSplit);
  return { whole, train, validation, test, classNames };
}

/** The first `wanted` pictures; says so if there are fewer. */
export function limitTo(dataset: Dataset, wanted: number | null, flag: string, out: Output): Dataset {
  if (wanted === null) return dataset;
  const length = lengthOf(dataset);
  if (wanted > length)
    out.say(`${dataset.name} has ${plural(length, 'picture')}, fewer than ${flag} ${wanted}.`);
  return limit(dataset, wanted);
}
