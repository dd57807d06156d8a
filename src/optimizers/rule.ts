/** What the mathematics of an optimizer is given and gives; the rules are in `index.ts`. */
import type { Node } from '../graph/node.ts';

/** One weight on its way through an update. */
export interface Parameter {
  readonly path: string;
  readonly value: Node;
  readonly gradient: Node;
  /** The share of the learning rate at which it learns. Defaults to 1. */
  readonly rateMultiplier?: number;
  /** State by slot name. */
  readonly slots: Readonly<Record<string, Node>>;
}

/** A weight and its state after an update. */
export interface Updated {
  readonly value: Node;
  readonly slots: Readonly<Record<string, Node>>;
}

/** The mathematics of an optimizer. */
export interface UpdateRule {
  readonly className: string;
  /** Keras's default name of the optimizer. */
  readonly name: string;
  readonly defaultRate: number;
  readonly defaultDecay: number | null;
  /** Keras's arguments beyond the common ones. */
  readonly config: Readonly<Record<string, unknown>>;
  /** What only Graft writes beside them and reads: Keras 3 has no argument for it. */
  readonly beyondKeras?: Readonly<Record<string, unknown>>;
  /** State that the rule has for each weight. */
  readonly slots: readonly string[];
  /** Slots that Keras stores weight by weight before the others, which follow slot by slot. */
  readonly interleaved: readonly string[];
  /**
   * Gradients come to the rule times this number: √(1 − decay) where it averages their squares, which saves a pass over
   * each weight.
   */
  readonly gradientScale: number;
  /** Numbers proportional to the rate that depend on the step, computed in float64. `step` counts from 1. */
  scalars(learningRate: number, step: number): Readonly<Record<string, number>>;
  update(parameter: Parameter, scalars: Readonly<Record<string, Node>>): Updated;
}
