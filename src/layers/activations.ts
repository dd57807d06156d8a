/** Activation functions by Keras's names (keras.activations). */
import { oneOf } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { kerasObject, lookUp } from '../core/records.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';

const seluScale = 1.0507009873554805;
const seluAlpha = 1.6732632423543772;

// The constant comes first: at x = 6 it takes the gradient, so relu6 is flat there, as in TensorFlow.
const relu6 = (x: Node): Node => o.min(6, o.relu(x));
const silu = (x: Node): Node => o.mul(x, o.sigmoid(x));
const hardSigmoid = (x: Node): Node => o.mul(relu6(o.add(x, 3)), 1 / 6);
const hardSigmoidOfKeras2 = (x: Node): Node => o.min(o.max(o.add(o.mul(x, 0.2), 0.5), 0), 1);
const hardSilu = (x: Node): Node => o.mul(x, hardSigmoid(x));

/** x for x > 0, α(eˣ − 1) otherwise; the exponential sees no positive value, so it cannot overflow. */
const elu = (x: Node, alpha = 1): Node => o.add(o.relu(x), o.mul(o.sub(o.exp(o.min(x, 0)), 1), alpha));

/** log(1 + eˣ) = max(x, 0) + log(1 + e^−|x|) */
const softplus = (x: Node): Node => o.add(o.relu(x), o.log(o.add(1, o.exp(o.neg(o.max(x, o.neg(x)))))));

const activations = {
  linear: (x: Node) => x,
  relu: o.relu,
  relu6,
  sigmoid: o.sigmoid,
  tanh: o.tanh,
  softmax: o.softmax,
  log_softmax: o.logSoftmax,
  exponential: o.exp,
  /** x · Φ(x), exact (Keras's approximate=False). */
  gelu: (x: Node) => o.mul(o.mul(x, 0.5), o.add(1, o.erf(o.mul(x, Math.SQRT1_2)))),
  silu,
  swish: silu,
  elu: (x: Node) => elu(x),
  selu: (x: Node) => o.mul(elu(x, seluAlpha), seluScale),
  softplus,
  softsign: (x: Node) => o.div(x, o.add(1, o.max(x, o.neg(x)))),
  leaky_relu: (x: Node) => o.max(x, o.mul(x, 0.2)),
  hard_sigmoid: hardSigmoid,
  /** clip(0.2 x + 0.5, 0, 1), which is `hard_sigmoid` in files of Keras 2. Keras 3 has no name for it. */
  hard_sigmoid_keras2: hardSigmoidOfKeras2,
  hard_silu: hardSilu,
  hard_swish: hardSilu,
  mish: (x: Node) => o.mul(x, o.tanh(softplus(x))),
};

export type ActivationName = keyof typeof activations;

/** The name of an activation. */
export const activationSchema = oneOf(...(Object.keys(activations) as ActivationName[]));

/** The function of an activation. Throws `unsupported` with the known names. */
export function activation(name: string): (x: Node) => Node {
  const known = lookUp(activations as Readonly<Record<string, (x: Node) => Node>>, name);
  if (known !== undefined) return known;
  return fail(
    'unsupported',
    `Graft does not have the activation "${name}"; it has ${Object.keys(activations).join(', ')}.`,
  );
}

/** Reads what that version of Keras writes for an activation: a name, a function, or `null` for none. Throws `unsupported`. */
export function activationFromKeras(value: unknown, keras: 2 | 3 = 3): string {
  const name = value === null ? 'linear' : kerasObject(value, 'an activation').class_name;
  activation(name);
  return keras === 2 && name === 'hard_sigmoid' ? 'hard_sigmoid_keras2' : name;
}
