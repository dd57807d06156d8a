/** Penalties on weights, added to the loss: Keras's L1, L2 and L1L2. */
import * as v from 'valibot';
import { checked, type Entries, fields, notNegative, optional } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { isRecord, type KerasObject, kerasObject } from '../core/records.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';

/** A penalty on a weight, which joins the loss. */
export interface Regularizer {
  /** What Keras writes for it. */
  readonly keras: KerasObject;
  /** The scalar penalty of a weight. */
  penalty(weight: Node): Node;
}

/** A regularizer as layers take it, or `null` for none. */
export const regularizerSchema = v.nullable(
  v.custom<Regularizer>(
    (value) => isRecord(value) && typeof value['penalty'] === 'function' && isRecord(value['keras']),
    'a regularizer (such as regularizers.l2(0.01) returns) or null',
  ),
);

/** Options of `l1l2`. */
export interface L1L2Options {
  /** Defaults to 0. */
  readonly l1?: number;
  /** Defaults to 0. */
  readonly l2?: number;
}

const l1l2Options = fields({
  l1: optional(notNegative, 0),
  l2: optional(notNegative, 0),
} satisfies Entries<L1L2Options>);

/** `l1 · Σ|w| + l2 · Σw²` (Keras's L1L2). Both default to 0. */
export function l1l2(options: L1L2Options = {}): Regularizer {
  const { l1, l2 } = checked(l1l2Options, options, 'regularizers.l1l2');
  return regularizer({ class_name: 'L1L2', config: { l1, l2 } }, l1, l2);
}

/** `factor · Σ|w|`; the factor defaults to 0.01 as in Keras. */
export function l1(factor = 0.01): Regularizer {
  checked(notNegative, factor, 'regularizers.l1(factor)');
  return regularizer({ class_name: 'L1', config: { l1: factor } }, factor, 0);
}

/** `factor · Σw²`; the factor defaults to 0.01 as in Keras. */
export function l2(factor = 0.01): Regularizer {
  checked(notNegative, factor, 'regularizers.l2(factor)');
  return regularizer({ class_name: 'L2', config: { l2: factor } }, 0, factor);
}

function regularizer(keras: KerasObject, l1: number, l2: number): Regularizer {
  return {
    keras,
    penalty(weight) {
      const absolute = () => o.mul(o.sum(o.max(weight, o.neg(weight))), l1);
      const squared = () => o.mul(o.sum(o.square(weight)), l2);
      if (l1 !== 0 && l2 !== 0) return o.add(absolute(), squared());
      return l1 !== 0 ? absolute() : squared();
    },
  };
}

/** Reads what Keras writes for a regularizer; `null` stays `null`. */
export function regularizerFromKeras(value: unknown): Regularizer | null {
  if (value === null || value === undefined) return null;
  const { class_name, config } = kerasObject(value, 'a regularizer');
  const numbers = config as Record<string, never>;
  switch (class_name.toLowerCase()) {
    case 'l1':
      return l1(numbers['l1']);
    case 'l2':
      return l2(numbers['l2']);
    case 'l1_l2':
    case 'l1l2':
      return l1l2({ l1: numbers['l1'] ?? 0, l2: numbers['l2'] ?? 0 });
    default:
      return fail(
        'unsupported',
        `Graft does not have the regularizer ${class_name}; it has L1, L2 and L1L2.`,
      );
  }
}
