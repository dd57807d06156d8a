/**
 * Moves slices of positions towards the picture: where every n-th position of a map is all that is used, only
 * those are computed. In ResNet50 that takes three quarters off the last 3x3 and 1x1 convolution of each stage.
 *
 * The values that are left are computed as before: an elementwise operation and a 1x1 convolution see one position,
 * and a wider window starts at every n-th one.
 */
import { type ConvAttributes, type Node, type NodeOf, type OpName, topologicalOrder } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { withInputs } from '../graph/simplify.ts';
import { countUses } from './uses.ts';

/** Every n-th position of the whole map, from the first on. */
interface Sampling {
  readonly rows: number;
  readonly columns: number;
}

const elementwise: ReadonlySet<OpName> = new Set([
  ...(['add', 'sub', 'mul', 'div', 'max', 'min', 'relu', 'neg', 'exp', 'sqrt', 'tanh', 'sigmoid'] as const),
]);

/** Rewrites until no slice can move. */
export function liftSlices(outputs: readonly Node[]): Node[] {
  const uses = countUses(outputs);
  const done = new Map<Node, Node>();
  const sliced = new Map<string, Node>();
  /** `node[::rows, ::columns]`, written for the rewritten graph. */
  const sample = (node: Node, sampling: Sampling): Node => {
    const key = `${node.id} ${sampling.rows} ${sampling.columns}`;
    const known = sliced.get(key);
    if (known !== undefined) return known;
    const result =
      uses.get(node) === 1 ? (lifted(node, sampling) ?? cut(node, sampling)) : cut(node, sampling);
    sliced.set(key, result);
    return result;
  };
  const cut = (node: Node, { rows, columns }: Sampling): Node =>
    o.slice(done.get(node)!, [
      { axis: 1, start: 0, end: node.shape[1]!, step: rows },
      { axis: 2, start: 0, end: node.shape[2]!, step: columns },
    ]);
  const lifted = (node: Node, sampling: Sampling): Node | null => {
    if (elementwise.has(node.op)) {
      if (node.inputs.some((input) => input.shape.length === 4 && !spans(input, node))) return null;
      const inputs = node.inputs.map((input) =>
        input.shape.length === 4 ? sample(input, sampling) : done.get(input)!,
      );
      return o.makeNode(node.op, inputs, node.attributes as NodeOf<OpName>['attributes']);
    }
    return node.op === 'conv2d' ? strided(node, sampling) : null;
  };
  const strided = (node: NodeOf<'conv2d'>, sampling: Sampling): Node => {
    const [x, kernel] = node.inputs as [Node, Node];
    const { attributes } = node;
    if (isPointwise(attributes, kernel)) {
      return o.makeNode('conv2d', [sample(x, sampling), done.get(kernel)!], attributes);
    }
    const strides = [
      attributes.strides[0] * sampling.rows,
      attributes.strides[1] * sampling.columns,
    ] as const;
    return o.conv2d(done.get(x)!, done.get(kernel)!, { ...attributes, strides });
  };
  for (const node of topologicalOrder(outputs)) {
    const sampling = samplingOf(node);
    done.set(node, sampling ? sample(node.inputs[0]!, sampling) : withInputs(node, done));
  }
  return outputs.map((output) => done.get(output)!);
}

function spans(input: Node, node: Node): boolean {
  return input.shape[1] === node.shape[1] && input.shape[2] === node.shape[2];
}

function isPointwise({ strides, pads }: ConvAttributes, kernel: Node): boolean {
  const ones = [...kernel.shape.slice(0, 2), ...strides].every((size) => size === 1);
  return ones && pads.every((amount) => amount === 0);
}

function samplingOf(node: Node): Sampling | null {
  if (node.op !== 'slice' || node.shape.length !== 4) return null;
  const { starts, ends, steps } = node.attributes;
  const source = node.inputs[0]!;
  const whole = [1, 2, 3].every((axis) => starts[axis] === 0 && ends[axis] === source.shape[axis]);
  return whole && steps[3] === 1 && source.shape[0]! < 0 ? { rows: steps[1]!, columns: steps[2]! } : null;
}
