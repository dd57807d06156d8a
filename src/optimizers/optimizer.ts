/**
 * What every optimizer shares: the learning rate, gradient clipping, weight decay, and the order of its state in
 * Keras's files. The rules themselves are pure functions in `index.ts`.
 */
import * as v from 'valibot';
import {
  type Entries,
  flag,
  notNegative,
  optional,
  positive,
  share,
  text,
  wholeNumber,
} from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import type { Parameter, Updated, UpdateRule } from './rule.ts';
import type { Schedule } from './schedules.ts';

/** Options that every optimizer takes (keras.optimizers.Optimizer). */
export interface OptimizerOptions {
  /** A number, or a schedule. Defaults to the optimizer’s own. */
  readonly learningRate?: number | Schedule;
  /** Decoupled: before each update the weight shrinks by weight · weightDecay · learning rate. */
  readonly weightDecay?: number | null;
  /** Weights whose path contains one of these are not decayed (Keras's exclude_from_weight_decay). */
  readonly excludeFromWeightDecay?: readonly string[];
  /** Each gradient is scaled down to at most this norm. */
  readonly clipnorm?: number | null;
  /** All gradients together are scaled down to at most this norm. */
  readonly globalClipnorm?: number | null;
  /** Each element of a gradient is kept within ± this value. */
  readonly clipvalue?: number | null;
  /**
   * Batches whose gradients are averaged, each counting the same, into one update; at least 2, or null for an update
   * with every batch. As in Keras, groups go on across the ends of epochs, and a schedule counts batches.
   */
  readonly gradientAccumulationSteps?: number | null;
  /**
   * Keeps an exponential moving average of the weights beside them; `fit` ends with the averages in the model. Defaults
   * to false.
   */
  readonly useEma?: boolean;
  /**
   * average = emaMomentum · average + (1 − emaMomentum) · weight, from the first update's weights on. Defaults to
   * 0.99.
   */
  readonly emaMomentum?: number;
  /** After every so many updates the averages become the weights; null, the default, for only at the end. */
  readonly emaOverwriteFrequency?: number | null;
}

const schedule = v.custom<Schedule>(
  (value) => typeof value === 'object' && value !== null && typeof (value as Schedule).at === 'function',
  'a schedule (such as schedules.cosineDecay() returns)',
);

/** Schemas of the options that every optimizer takes. Those that differ have their defaults in the rule. */
export const optimizerEntries = {
  learningRate: optional(v.union([notNegative, schedule])),
  weightDecay: optional(v.nullable(notNegative)),
  excludeFromWeightDecay: optional(v.array(text, 'an array of parts of the names of weights'), []),
  clipnorm: optional(v.nullable(positive), null),
  globalClipnorm: optional(v.nullable(positive), null),
  clipvalue: optional(v.nullable(positive), null),
  gradientAccumulationSteps: optional(v.nullable(wholeNumber(2)), null),
  useEma: optional(flag, false),
  emaMomentum: optional(share, 0.99),
  emaOverwriteFrequency: optional(v.nullable(wholeNumber(1)), null),
} satisfies Entries<OptimizerOptions>;

/** An update rule with its options: what `sgd`, `rmsprop`, `adam` and `adamw` make. */
export class Optimizer {
  readonly rule: UpdateRule;
  readonly options: Required<OptimizerOptions>;

  constructor(rule: UpdateRule, options: OptimizerOptions) {
    this.rule = rule;
    this.options = {
      learningRate: options.learningRate ?? rule.defaultRate,
      weightDecay: options.weightDecay === undefined ? rule.defaultDecay : options.weightDecay,
      excludeFromWeightDecay: options.excludeFromWeightDecay ?? [],
      clipnorm: options.clipnorm ?? null,
      globalClipnorm: options.globalClipnorm ?? null,
      clipvalue: options.clipvalue ?? null,
      gradientAccumulationSteps: options.gradientAccumulationSteps ?? null,
      useEma: options.useEma ?? false,
      emaMomentum: options.emaMomentum ?? 0.99,
      emaOverwriteFrequency: options.emaOverwriteFrequency ?? null,
    };
    const { clipnorm, globalClipnorm, clipvalue, useEma, gradientAccumulationSteps } = this.options;
    if ([clipnorm, globalClipnorm, clipvalue].filter((value) => value !== null).length > 1) {
      fail('argument', 'Only one of clipnorm, globalClipnorm and clipvalue can be set.');
    }
    // Keras averages after every batch then, also after those that change no weight.
    if (useEma && gradientAccumulationSteps !== null) {
      fail(
        'unsupported',
        'Graft does not have useEma together with gradientAccumulationSteps; leave one out.',
      );
    }
  }

  /** State that each weight has, of its shape, zero at the start. */
  get slots(): readonly string[] {
    return [...this.#common, ...this.rule.slots];
  }

  /** The slots in front of the rule's, in Keras's order. */
  get #common(): readonly string[] {
    return [...(this.options.useEma ? [averageSlot] : []), ...(this.#accumulates ? [accumulator] : [])];
  }

  get #accumulates(): boolean {
    return this.options.gradientAccumulationSteps !== null;
  }

  /**
   * What the loss is to be multiplied by before it is differentiated: the rule's `gradientScale`, unless gradients are
   * compared with a limit or kept.
   */
  get lossScale(): number {
    const { clipnorm, globalClipnorm, clipvalue } = this.options;
    const clips = [clipnorm, globalClipnorm, clipvalue].some((value) => value !== null);
    return clips || this.#accumulates ? 1 : this.rule.gradientScale;
  }

  /** Whether the batch after `step` batches ends in an update; else its gradients are only added up. */
  updatesAt(step: number): boolean {
    return (step + 1) % (this.options.gradientAccumulationSteps ?? 1) === 0;
  }

  /** The scheduled learning rate when `step` batches are done. */
  rateAt(step: number): number {
    const { learningRate } = this.options;
    return typeof learningRate === 'number' ? learningRate : learningRate.at(step);
  }

  /** The numbers to feed for the batch after `step` batches. */
  scalarsAt(step: number, learningRate: number): Readonly<Record<string, number>> {
    const updates = Math.floor(step / (this.options.gradientAccumulationSteps ?? 1));
    const { useEma, emaMomentum, emaOverwriteFrequency: every } = this.options;
    return {
      learningRate,
      ...(useEma ? { emaMomentum: updates === 0 ? 0 : emaMomentum } : {}),
      ...(useEma && every !== null ? { emaOverwrites: Number((updates + 1) % every === 0) } : {}),
      ...this.rule.scalars(learningRate, updates + 1),
    };
  }

  /**
   * Writes the update of all weights: gradients averaged with those that wait, clipped, weights decayed, then the
   * rule, as Keras orders it. The gradients are those of the loss times `lossScale`.
   */
  update(parameters: readonly Parameter[], scalars: Readonly<Record<string, Node>>): Updated[] {
    const { gradientAccumulationSteps: batches } = this.options;
    if (batches === null) return this.#apply(parameters, scalars);
    const averaged = parameters.map((parameter) => ({
      ...parameter,
      gradient: o.div(accumulated(parameter), batches),
    }));
    return this.#apply(averaged, scalars).map((updated, i) => {
      const none = o.expand(o.scalar(0), parameters[i]!.value.shape);
      return { ...updated, slots: { ...updated.slots, [accumulator]: none } };
    });
  }

  /** Writes what a batch without an update does: the slots that it changes. Null if every batch has an update. */
  accumulate(parameters: readonly Parameter[]): Updated['slots'][] | null {
    if (!this.#accumulates) return null;
    return parameters.map((parameter) => ({ [accumulator]: accumulated(parameter) }));
  }

  #apply(parameters: readonly Parameter[], scalars: Readonly<Record<string, Node>>): Updated[] {
    const clipped = this.#clip(parameters.map(({ gradient }) => gradient));
    const { weightDecay, excludeFromWeightDecay } = this.options;
    const scale = this.rule.gradientScale / this.lossScale;
    return parameters.map((parameter, i) => {
      const { path, value } = parameter;
      const own = this.#ratesFor(parameter, scalars);
      const decays = weightDecay !== null && !excludeFromWeightDecay.some((part) => path.includes(part));
      // Not value · (1 − share): a share of 1e-7 would be lost beside the 1.
      const share = decays ? o.mul(own['learningRate']!, weightDecay) : null;
      const decayed = share === null ? value : o.sub(value, o.mul(value, share));
      const gradient = scale === 1 ? clipped[i]! : o.mul(clipped[i]!, scale);
      const updated = this.rule.update({ ...parameter, value: decayed, gradient }, own);
      return this.options.useEma ? averaged(parameter, updated, scalars) : updated;
    });
  }

  /** The learning rate, and what the rule makes of it, as one weight sees them. */
  #ratesFor(
    { rateMultiplier = 1 }: Parameter,
    scalars: Readonly<Record<string, Node>>,
  ): Readonly<Record<string, Node>> {
    if (rateMultiplier === 1) return scalars;
    const rates = ['learningRate', ...Object.keys(this.rule.scalars(1, 1))];
    return Object.fromEntries(rates.map((name) => [name, o.mul(scalars[name]!, rateMultiplier)]));
  }

  #clip(gradients: readonly Node[]): readonly Node[] {
    const { clipnorm, globalClipnorm, clipvalue } = this.options;
    if (clipvalue !== null) return gradients.map((g) => o.min(o.max(g, -clipvalue), clipvalue));
    if (clipnorm !== null) {
      return gradients.map((g) => o.mul(g, clipFactor(o.sqrt(o.sum(o.square(g))), clipnorm)));
    }
    if (globalClipnorm !== null) {
      const squares = gradients.map((g) => o.sum(o.square(g)));
      const norm = o.sqrt(squares.reduce((total, square) => o.add(total, square)));
      const factor = clipFactor(norm, globalClipnorm);
      return gradients.map((g) => o.mul(g, factor));
    }
    return gradients;
  }

  /** The order in which Keras stores state: pairs of a weight's index and a slot. */
  slotOrder(weights: number): { readonly weight: number; readonly slot: string }[] {
    const { slots, interleaved } = this.rule;
    const indices = Array.from({ length: weights }, (_, weight) => weight);
    const together = indices.flatMap((weight) => interleaved.map((slot) => ({ weight, slot })));
    const apart = slots
      .filter((slot) => !interleaved.includes(slot))
      .flatMap((slot) => indices.map((weight) => ({ weight, slot })));
    const first = this.#common.flatMap((slot) => indices.map((weight) => ({ weight, slot })));
    return [...first, ...together, ...apart];
  }

  /** Keras's class and config, for files. */
  get keras(): { class_name: string; config: Record<string, unknown>; graft?: unknown } {
    const { beyondKeras } = this.rule;
    const { learningRate, weightDecay, clipnorm, globalClipnorm, clipvalue } = this.options;
    return {
      class_name: this.rule.className,
      config: {
        name: this.rule.name,
        learning_rate:
          typeof learningRate === 'number'
            ? learningRate
            : { module: 'keras.optimizers.schedules', ...learningRate.keras, registered_name: null },
        weight_decay: weightDecay,
        clipnorm,
        global_clipnorm: globalClipnorm,
        clipvalue,
        use_ema: this.options.useEma,
        ema_momentum: this.options.emaMomentum,
        ema_overwrite_frequency: this.options.emaOverwriteFrequency,
        loss_scale_factor: null,
        gradient_accumulation_steps: this.options.gradientAccumulationSteps,
        ...this.rule.config,
      },
      ...(beyondKeras === undefined ? {} : { graft: beyondKeras }),
    };
  }
}

/** The slot in which gradients wait for the update of their group: their sum. */
const accumulator = 'gradient_accumulator';

/** The slot with the moving average of a weight. */
export const averageSlot = 'average';

/** Adds the weight to its average, and puts that in its place where it is time. */
function averaged(
  { slots }: Parameter,
  { value, slots: next }: Updated,
  { emaMomentum, emaOverwrites }: Readonly<Record<string, Node>>,
): Updated {
  const average = o.add(o.mul(emaMomentum!, slots[averageSlot]!), o.mul(o.sub(1, emaMomentum!), value));
  return {
    value: emaOverwrites === undefined ? value : o.select(o.greater(emaOverwrites, 0.5), average, value),
    slots: { ...next, [averageSlot]: average },
  };
}

function accumulated({ gradient, slots }: Parameter): Node {
  return o.add(gradient, slots[accumulator]!);
}

/** limit / max(norm, limit): 1 while the norm is within the limit. */
function clipFactor(norm: Node, limit: number): Node {
  return o.div(limit, o.max(norm, limit));
}
