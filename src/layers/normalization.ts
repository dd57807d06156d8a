/** BatchNormalization and LayerNormalization, as keras.layers. */
import * as v from 'valibot';
import { checked, type Entries, fields, flag, notNegative, optional, share, whole } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { type Initializer, type InitializerOption, initializerSchema } from './initializers.ts';
import {
  type CallContext,
  ConfiguredLayer,
  type LayerOptions,
  layerEntries,
  type OwnOptions,
  type VariableSpec,
} from './layer.ts';
import { type Regularizer, regularizerSchema } from './regularizers.ts';

export interface BatchNormalizationOptions extends LayerOptions {
  /** Only the last axis is supported. */
  readonly axis?: number | readonly number[];
  readonly momentum?: number;
  readonly epsilon?: number;
  readonly center?: boolean;
  readonly scale?: boolean;
  readonly betaInitializer?: InitializerOption;
  readonly gammaInitializer?: InitializerOption;
  readonly movingMeanInitializer?: InitializerOption;
  readonly movingVarianceInitializer?: InitializerOption;
  readonly betaRegularizer?: Regularizer | null;
  readonly gammaRegularizer?: Regularizer | null;
}

const axisSchema = v.union([whole, v.array(whole, 'an array of axes')]);

const batchNormalizationOptions = fields({
  ...layerEntries,
  // Keras 2 writes a list of one.
  axis: optional(
    v.pipe(
      axisSchema,
      v.check((axis) => typeof axis === 'number' || axis.length === 1, 'must be one axis'),
      v.transform((axis): number => [axis].flat()[0]!),
    ),
    -1,
  ),
  momentum: optional(share, 0.99),
  epsilon: optional(notNegative, 1e-3),
  center: optional(flag, true),
  scale: optional(flag, true),
  betaInitializer: optional(initializerSchema, 'zeros'),
  gammaInitializer: optional(initializerSchema, 'ones'),
  movingMeanInitializer: optional(initializerSchema, 'zeros'),
  movingVarianceInitializer: optional(initializerSchema, 'ones'),
  betaRegularizer: optional(regularizerSchema, null),
  gammaRegularizer: optional(regularizerSchema, null),
} satisfies Entries<BatchNormalizationOptions>);

/**
 * Normalizes each channel (keras.layers.BatchNormalization; Ioffe & Szegedy 2015).
 *
 * In a training step a trainable layer uses the batch's mean and variance (biased) and moves the averages:
 * `moving = moving · momentum + batch · (1 − momentum)`. Otherwise, and always when frozen, it uses the moving
 * averages and leaves them alone. Weights: `gamma`, `beta`, `moving_mean`, `moving_variance`, each (channels,).
 */
export class BatchNormalization extends ConfiguredLayer<OwnOptions<typeof batchNormalizationOptions>> {
  constructor(options: BatchNormalizationOptions = {}) {
    super('BatchNormalization', checked(batchNormalizationOptions, options, 'layers.batchNormalization'));
  }

  protected override specs([shape]: readonly (readonly number[])[]): readonly VariableSpec[] {
    const { axis, center, scale } = this.options;
    if (axis !== -1 && axis !== shape!.length) {
      fail(
        'unsupported',
        `${this.name}: Graft normalizes the last axis (-1 or ${shape!.length}), got axis ${axis}.`,
      );
    }
    const spec = (name: string, option: Initializer, regularizer: Regularizer | null, learned: boolean) => ({
      name,
      shape: [shape!.at(-1)!],
      initializer: option,
      regularizer,
      learned,
    });
    const { gammaInitializer, gammaRegularizer, betaInitializer, betaRegularizer } = this.options;
    return [
      ...(scale ? [spec('gamma', gammaInitializer, gammaRegularizer, true)] : []),
      ...(center ? [spec('beta', betaInitializer, betaRegularizer, true)] : []),
      spec('moving_mean', this.options.movingMeanInitializer, null, false),
      spec('moving_variance', this.options.movingVarianceInitializer, null, false),
    ];
  }

  override call([x]: readonly Node[], context: CallContext): Node {
    const { momentum, epsilon } = this.options;
    const named = (name: string) => this.variables.find((variable) => variable.name === name);
    const [gamma, beta] = [named('gamma'), named('beta')];
    const [movingMean, movingVariance] = [named('moving_mean')!, named('moving_variance')!];

    const [mean, variance] = [context.weight(movingMean), context.weight(movingVariance)];
    // γ (x − μ) / σ + β as one scale and one shift, which a convolution in front or one pass over x can absorb.
    const normalized = (values: Node, center: Node, spread: Node) => {
      const scale = inverseDeviation(spread, epsilon, gamma && context.weight(gamma));
      const shift = o.neg(o.mul(center, scale));
      return o.add(o.mul(values, scale), beta ? o.add(shift, context.weight(beta)) : shift);
    };
    if (!context.training || !this.trainable) return normalized(x!, mean, variance);
    const batch = moments(x!);
    const move = (moving: Node, now: Node) => o.add(o.mul(moving, momentum), o.mul(now, 1 - momentum));
    context.update(movingMean, move(mean, batch.mean));
    context.update(movingVariance, move(variance, batch.variance));
    return normalized(batch.centered, batch.center, batch.variance);
  }
}

/**
 * Mean and variance over all axes but the last, and x with the mean taken off. The variance is E[(x − mean)²], in two
 * passes: E[x²] − E[x]² has no correct digit left where the mean is a thousand deviations or more.
 *
 * The mean that is taken off is a constant to the gradient. The variance needs no more, since its derivative by the
 * mean is −2 E[x − mean] = 0; for all else `center`, which is 0, carries the mean's gradient in a vector, so that no
 * further pass over a map sums it up.
 */
function moments(x: Node): { mean: Node; variance: Node; centered: Node; center: Node } {
  const axes = x.shape.slice(0, -1).map((_, axis) => axis);
  const mean = o.mean(x, axes);
  const centered = o.sub(x, o.stopGradient(mean));
  const variance = o.mean(o.square(centered), axes);
  return { mean, variance, centered, center: o.sub(mean, o.stopGradient(mean)) };
}

/** γ / √(variance + ε) */
function inverseDeviation(variance: Node, epsilon: number, gamma: Node | undefined): Node {
  return o.div(gamma ?? 1, o.sqrt(o.add(variance, epsilon)));
}

export interface LayerNormalizationOptions extends LayerOptions {
  /** Only the last axis is supported. */
  readonly axis?: number | readonly number[];
  readonly epsilon?: number;
  readonly center?: boolean;
  readonly scale?: boolean;
  readonly betaInitializer?: InitializerOption;
  readonly gammaInitializer?: InitializerOption;
  readonly betaRegularizer?: Regularizer | null;
  readonly gammaRegularizer?: Regularizer | null;
}

const layerNormalizationOptions = fields({
  ...layerEntries,
  axis: optional(axisSchema, -1),
  epsilon: optional(notNegative, 1e-3),
  center: optional(flag, true),
  scale: optional(flag, true),
  betaInitializer: optional(initializerSchema, 'zeros'),
  gammaInitializer: optional(initializerSchema, 'ones'),
  betaRegularizer: optional(regularizerSchema, null),
  gammaRegularizer: optional(regularizerSchema, null),
} satisfies Entries<LayerNormalizationOptions>);

/**
 * Normalizes each picture's values along the last axis (keras.layers.LayerNormalization; Ba et al. 2016):
 * `γ (x − mean) / √(variance + ε) + β`, in training as in inference. Weights: `gamma`, `beta`, each (channels,).
 */
export class LayerNormalization extends ConfiguredLayer<OwnOptions<typeof layerNormalizationOptions>> {
  constructor(options: LayerNormalizationOptions = {}) {
    super('LayerNormalization', checked(layerNormalizationOptions, options, 'layers.layerNormalization'));
  }

  protected override specs([shape]: readonly (readonly number[])[]): readonly VariableSpec[] {
    const { center, scale, gammaInitializer, gammaRegularizer, betaInitializer, betaRegularizer } =
      this.options;
    const axes = [this.options.axis].flat();
    if (axes.length !== 1 || (axes[0] !== -1 && axes[0] !== shape!.length)) {
      fail(
        'unsupported',
        `${this.name}: Graft normalizes the last axis (-1 or ${shape!.length}), got axis [${axes.join(', ')}].`,
      );
    }
    const size = [shape!.at(-1)!];
    const gamma = {
      name: 'gamma',
      shape: size,
      initializer: gammaInitializer,
      regularizer: gammaRegularizer,
    };
    const beta = { name: 'beta', shape: size, initializer: betaInitializer, regularizer: betaRegularizer };
    return [...(scale ? [gamma] : []), ...(center ? [beta] : [])];
  }

  override call([x]: readonly Node[], context: CallContext): Node {
    const named = (name: string) => this.variables.find((variable) => variable.name === name);
    const [gamma, beta] = [named('gamma'), named('beta')];
    const centered = o.sub(x!, o.mean(x!, [-1], true));
    const variance = o.mean(o.square(centered), [-1], true);
    const normalized = o.mul(centered, inverseDeviation(variance, this.options.epsilon, undefined));
    const scaled = gamma ? o.mul(normalized, context.weight(gamma)) : normalized;
    return beta ? o.add(scaled, context.weight(beta)) : scaled;
  }
}
