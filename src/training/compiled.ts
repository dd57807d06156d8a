/** What `compile` decides about a network, before anything runs. */
import * as v from 'valibot';
import { warningOf } from '../compile/outputs.ts';
import {
  checked,
  type Entries,
  fields,
  isPlain,
  number,
  oneOf,
  optional,
  seed as seedSchema,
  wholeNumber,
} from '../core/checked.ts';
import { tell } from '../core/console.node.ts';
import {
  type CacheMode,
  type CacheOptions,
  cacheOptions,
  cacheSchema,
  type ResolvedCache,
} from '../features/index.ts';
import type { Layer } from '../layers/layer.ts';
import { type Loss, type LossName, lossSchema } from '../losses/index.ts';
import { type Metric, type MetricName, metricSchema } from '../metrics/index.ts';
import { type Network, someOf } from '../models/network.ts';
import { type LearningRateMultipliers, multipliersOf } from '../models/rates.ts';
import { type Optimizer, type OptimizerName, optimizerSchema } from '../optimizers/index.ts';
import { type Device, devices } from '../runtime/engine.node.ts';
import { Executor } from './executor.ts';
import { checkPrecision, type Precision, precisions } from './integers.ts';

/** Options of `model.compile`. */
export interface CompileOptions {
  /** Defaults to RMSprop, as in Keras. */
  readonly optimizer?: Optimizer | OptimizerName;
  /** A loss, or its name in Keras: `sparse_categorical_crossentropy`. */
  readonly loss: Loss | LossName;
  /** `accuracy`, `topKCategoricalAccuracy`, or metrics. */
  readonly metrics?: readonly (Metric | MetricName)[];
  /**
   * Groups of layers that learn at a share of the learning rate, by the first layer of each:
   * `{ resnet50: 0.1, dense: 1 }`. Defaults to the whole rate for all.
   */
  readonly learningRateMultipliers?: LearningRateMultipliers;
  /** Decides initial weights, shuffles and dropout. Defaults to 0. */
  readonly seed?: number;
  /** Where to run. Defaults to `cpu`. */
  readonly device?: Device;
  /** Threads of an operation. Defaults to the cores of the machine. */
  readonly threads?: number;
  /**
   * What the frozen part computes with. `int8` is faster and a little coarser; `fit` takes the ranges of its integers
   * from some training pictures. Defaults to `float32`.
   */
  readonly precision?: Precision;
  /** Whether and how the frozen part's features are kept, between epochs and runs. Defaults to `auto`. */
  readonly cache?: CacheMode | CacheOptions;
}

const compileOptions = fields({
  optimizer: optional(optimizerSchema, 'rmsprop'),
  loss: lossSchema,
  metrics: optional(v.array(metricSchema, 'an array of metrics'), []),
  learningRateMultipliers: optional(
    v.pipe(
      v.custom<Readonly<Record<string, unknown>>>(isPlain, 'an object of layers and multipliers'),
      // Names and range are checked with the network, which says what to do instead of 0.
      v.record(v.string(), number),
    ),
    {},
  ),
  seed: optional(seedSchema, 0),
  device: optional(oneOf(...devices), 'cpu'),
  threads: optional(wholeNumber(1)),
  precision: optional(oneOf(...precisions), 'float32'),
  cache: optional(cacheSchema, 'auto'),
} satisfies Entries<CompileOptions>);

export interface Compiled {
  readonly executor: Executor;
  readonly optimizer: Optimizer;
  readonly loss: Loss;
  readonly metrics: readonly Metric[];
  readonly learningRateMultipliers: LearningRateMultipliers;
  readonly seed: number;
  readonly cache: ResolvedCache;
  /** False if only predictions were asked for. */
  readonly trains: boolean;
  /** What was trainable then. */
  readonly flags: ReadonlyMap<Layer, boolean>;
}

/** Gives values to weights that have none. Throws `argument` or `weights`, and changes nothing, where it cannot. */
export function compileNetwork(network: Network, options: CompileOptions, trains: boolean): Compiled {
  const { seed, threads, learningRateMultipliers, device, optimizer, loss, metrics, ...given } = checked(
    compileOptions,
    options,
    'model.compile',
  );
  multipliersOf(network, learningRateMultipliers);
  const precision = checkPrecision(given.precision, device);
  const cache = cacheOptions(given.cache);
  const drawn = network.initialize(seed);
  if (drawn.length > 0) {
    const names = [...new Set(drawn.map(({ layer }) => layer.name))];
    tell(
      process.stderr,
      `Initialized ${names.length} trainable layers that the weights file lacks: ${someOf(names)}.\n`,
    );
  }
  const warning = trains ? warningOf(loss, network) : null;
  if (warning !== null) tell(process.stderr, `${warning}\n`);
  const decided = { optimizer, loss, metrics, learningRateMultipliers, trains, seed };
  const executor = new Executor({ network, ...decided, device, threads, precision });
  const flags = new Map(network.leaves().map((layer) => [layer, layer.trainable]));
  return { executor, ...decided, cache, flags };
}

/** The options that would compile the same again. */
export function optionsOf({ executor, ...decided }: Compiled): CompileOptions {
  const { optimizer, loss, metrics, learningRateMultipliers, seed, cache } = decided;
  const { device, threads, precision } = executor.options;
  return {
    ...{ optimizer, loss, metrics, learningRateMultipliers, seed, cache, device, precision },
    ...(threads === undefined ? {} : { threads }),
  };
}
