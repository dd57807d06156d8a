/** Between a training and what files keep of it. */
import { tell } from '../core/console.node.ts';
import { GraftError } from '../core/errors.ts';
import type { Loss } from '../losses/index.ts';
import type { Metric } from '../metrics/index.ts';
import type { Network } from '../models/network.ts';
import type { LearningRateMultipliers } from '../models/rates.ts';
import { Optimizer } from '../optimizers/index.ts';
import type { SavedTraining } from '../saving/index.ts';
import type { NamedTensor } from '../saving/tensors.ts';
import { readOptimizer } from '../saving/training_config.ts';
import type { Executor } from './executor.ts';

/** What `compile` decided, as far as files keep it. */
interface Running {
  readonly executor: Executor;
  readonly optimizer: Optimizer;
  readonly loss: Loss;
  readonly metrics: readonly Metric[];
  readonly seed: number;
  readonly learningRateMultipliers: LearningRateMultipliers;
}

/** What a file keeps of a training. */
export async function savedTraining({ optimizer, executor, ...kept }: Running): Promise<SavedTraining> {
  const { loss, metrics, seed, learningRateMultipliers } = kept;
  const { step, learningRate } = executor;
  // A rate that a callback set goes into the file, as in Keras; a schedule stays a schedule.
  const scheduled = typeof optimizer.options.learningRate !== 'number';
  const current = scheduled
    ? optimizer
    : new Optimizer(optimizer.rule, { ...optimizer.options, learningRate });
  const slots = await executor.slots();
  return { optimizer: current, loss, metrics, seed, learningRateMultipliers, step, slots };
}

/** Takes the optimizer's state over from a file of weights if it fits, or says on stderr that it does not. */
export function takeOptimizer(
  path: string,
  network: Network,
  { executor, optimizer }: Running,
  variables: readonly NamedTensor[],
): void {
  try {
    const { step, slots, learningRate } = readOptimizer(path, network, optimizer, variables);
    executor.setSlots(slots, step);
    // A schedule goes on from the step; a rate in the file would end it.
    const scheduled = typeof optimizer.options.learningRate !== 'number';
    if (learningRate !== null && !scheduled) executor.learningRate = learningRate;
  } catch (error) {
    if (!(error instanceof GraftError) || error.code !== 'weights') throw error;
    tell(process.stderr, `The optimizer keeps its own state. ${error.message}\n`);
  }
}
