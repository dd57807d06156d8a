/**
 * Fine-tuning in two phases, as fastai's `fine_tune` (Howard & Gugger 2020): first the head alone, on features of a
 * frozen backbone, then, with new optimizer state, everything that is trainable, at half the rate and with lower rates
 * for earlier layers. The rate of each phase climbs and then falls as a cosine: from 1/25 in 99 % of the steps of the
 * first, from 1/5 in 30 % of those of the second.
 *
 * Other than in fastai, the rate climbs linearly (Keras's CosineDecay), momentum stays as it is, weight decay is that
 * of the compiled optimizer, and batch normalization of the frozen backbone is in inference mode, as in Keras.
 */
import { checked, type Entries, fields, optional, positive, text, wholeNumber } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { type Dataset, lengthOf } from '../data/dataset.ts';
import type { Layer } from '../layers/layer.ts';
import { Network } from '../models/network.ts';
import type { LearningRateMultipliers } from '../models/rates.ts';
import { Optimizer, type Schedule, schedules } from '../optimizers/index.ts';
import type { TrainingState } from './callback.ts';
import { type CompileOptions, optionsOf } from './compiled.ts';
import {
  conflictOf,
  type FitOptions,
  fitEntries,
  type History,
  historyOf,
  splitData,
  trainPart,
} from './fit.ts';
import type { Model } from './model.ts';

/** Options of `model.fineTune`; what is not named here is as in `fit`. */
export interface FineTuneOptions extends FitOptions {
  /** Epochs of the second phase. Defaults to 1. */
  readonly epochs?: number;
  /** Epochs of the first phase, in which only the head trains. Defaults to 1. */
  readonly freezeEpochs?: number;
  /** How many times slower than the head the first layers learn in the second phase. Defaults to 100. */
  readonly rateRatio?: number;
  /** The first layer of the head. Defaults to the one after the backbone, which is the last model inside the model. */
  readonly headFrom?: string;
}

const fineTuneOptions = fields({
  ...fitEntries,
  freezeEpochs: optional(wholeNumber(0), 1),
  rateRatio: optional(positive),
  headFrom: optional(text),
} satisfies Entries<FineTuneOptions>);

/** What a phase decides about the model. */
interface Phase {
  /** The epoch at which it is over, counted through both. */
  readonly until: number;
  /** What rests in it. */
  readonly frozen: ReadonlySet<Layer>;
  readonly compile: Pick<CompileOptions, 'optimizer' | 'learningRateMultipliers'>;
}

/**
 * The base rate is that of the optimizer with which the model was compiled; what trains in the second phase is what is
 * trainable now. Epochs are counted through both phases, callbacks hear of one training, and a callback that stops it
 * stops both. `learningRateMultipliers`, if compiled with, take the place of `rateRatio`. `resume` finds its phase. At
 * the end the model is compiled as in the second phase. Throws `state` if there is nothing to thaw.
 */
export async function fineTune(model: Model, data: Dataset, options: FineTuneOptions): Promise<History> {
  const where = 'model.fineTune';
  const { epochs, freezeEpochs, rateRatio, headFrom, ...fit } = checked(fineTuneOptions, options, where);
  const conflict = conflictOf(options);
  if (conflict !== null) fail('argument', `${where} ${conflict}.`);
  const { training } = splitData(data, fit);
  const compiled = optionsOf(model.compiled);
  const stepsPerEpoch = Math.ceil(lengthOf(training) / fit.batchSize);
  const parts = partsOf(model, headFrom);
  const flags = new Map(model.leaves().map((layer) => [layer, layer.trainable]));
  const [first, second] = phasesOf(compiled, parts, { epochs, freezeEpochs, stepsPerEpoch, rateRatio });
  const enter = async (phase: Phase) => {
    for (const [layer, flag] of flags) layer.trainable = flag && !phase.frozen.has(layer);
    model.compile({ ...compiled, ...phase.compile });
  };
  try {
    let state: TrainingState | null = fit.resume;
    const begins = state === null || state.epoch < first.until;
    if (begins && freezeEpochs > 0) {
      await enter(first);
      const part = { begins: true, ends: false, epochs: second.until };
      const run = await trainPart(model, data, { ...fit, epochs: first.until, resume: state }, part);
      if (run.stopping !== null) {
        await enter(second);
        return historyOf(run);
      }
      state = await run.state();
      // The features of this phase are not needed any more.
      await model.close();
    }
    await enter(second);
    const resume = state && thawed(state, first.until);
    const part = { begins: !begins || freezeEpochs === 0, ends: true, epochs: second.until };
    return historyOf(await trainPart(model, data, { ...fit, epochs: second.until, resume }, part));
  } catch (error) {
    for (const [layer, flag] of flags) layer.trainable = flag;
    throw error;
  }
}

/** At the border of the phases the optimizer starts anew, as in fastai. */
function thawed(state: TrainingState, border: number): TrainingState {
  return state.epoch === border && state.batch === 0 ? { ...state, step: 0, slots: {}, totals: {} } : state;
}

interface Parts {
  /** Everything in front of the head. */
  readonly front: readonly Layer[];
  /** What of it has weights and is trainable. */
  readonly backbone: readonly Layer[];
  /** The first layer of the head. */
  readonly head: Layer;
}

function partsOf(model: Model, headFrom: string | undefined): Parts {
  const leaves = model.leaves();
  const start = headFrom === undefined ? headAfterBackbone(model) : model.getLayer(headFrom);
  const head = start instanceof Network ? start.leaves()[0]! : start;
  const front = leaves.slice(0, leaves.indexOf(head));
  const backbone = front.filter(({ variables }) => variables.some(({ trainable }) => trainable));
  if (backbone.length === 0) {
    fail(
      'state',
      `fineTune trains the head of ${model.name} first and then what is in front of ${start.name}, of which nothing ` +
        'is trainable. Thaw it: backbone.trainable = true, or model.freezeUntil(layer).',
    );
  }
  return { front, backbone, head };
}

function headAfterBackbone({ name, layers }: Model): Layer {
  const backbone = layers.findLastIndex((layer) => layer instanceof Network);
  if (backbone >= 0 && backbone + 1 < layers.length) return layers[backbone + 1]!;
  return fail(
    'argument',
    `fineTune: model ${name} has no model inside; name the first layer of the head: headFrom.`,
  );
}

interface Timing {
  readonly epochs: number;
  readonly freezeEpochs: number;
  readonly stepsPerEpoch: number;
  readonly rateRatio: number | undefined;
}

function phasesOf(
  { optimizer, learningRateMultipliers = {} }: CompileOptions,
  { front, backbone, head }: Parts,
  { epochs, freezeEpochs, stepsPerEpoch, rateRatio }: Timing,
): readonly [Phase, Phase] {
  const { rule, options } = optimizer as Optimizer;
  const { learningRate } = options;
  if (typeof learningRate !== 'number') {
    return fail('state', 'fineTune has schedules of its own; compile with a number as learningRate.');
  }
  const given = Object.keys(learningRateMultipliers).length > 0;
  if (given && rateRatio !== undefined) {
    fail('argument', 'fineTune: give rateRatio, or compile with learningRateMultipliers, not both.');
  }
  const at = (schedule: Schedule) => new Optimizer(rule, { ...options, learningRate: schedule });
  return [
    {
      until: freezeEpochs,
      frozen: new Set(front),
      compile: {
        optimizer: at(oneCycle(learningRate, freezeEpochs * stepsPerEpoch, { climb: 0.99, from: 1 / 25 })),
        learningRateMultipliers: {},
      },
    },
    {
      until: freezeEpochs + epochs,
      frozen: new Set(),
      compile: {
        optimizer: at(oneCycle(learningRate / 2, epochs * stepsPerEpoch, { climb: 0.3, from: 1 / 5 })),
        learningRateMultipliers: given ? learningRateMultipliers : groupsOf(backbone, head, rateRatio ?? 100),
      },
    },
  ];
}

/** Where a cycle ends, as a share of its highest rate. */
const lowest = 1e-5;

/** Climbs in a share of the steps, then falls as a cosine. */
function oneCycle(
  highest: number,
  steps: number,
  { climb, from }: { climb: number; from: number },
): Schedule {
  const warmupSteps = Math.round(climb * steps);
  return schedules.cosineDecay({
    initialLearningRate: highest * from,
    warmupTarget: highest,
    warmupSteps,
    decaySteps: Math.max(steps - warmupSteps, 1),
    alpha: lowest,
  });
}

/** The backbone in two halves and the head, each learning √ratio times faster than the one before. */
function groupsOf(backbone: readonly Layer[], head: Layer, ratio: number): LearningRateMultipliers {
  const middle = Math.floor(backbone.length / 2);
  return {
    [backbone[0]!.name]: 1 / ratio,
    ...(middle > 0 ? { [backbone[middle]!.name]: 1 / Math.sqrt(ratio) } : {}),
    [head.name]: 1,
  };
}
