/** Ways through ONNX graphs, which may have further graphs inside (the branches of `If`, the bodies of `Loop`). */
import type { AttributeProto, GraphProto, NodeProto, TensorProto } from './proto.ts';

/** The graphs that are attributes of a node. */
export function subgraphsOf({ attribute }: NodeProto): GraphProto[] {
  return attribute.flatMap(({ g }) => g ?? []);
}

/** Every name that a node takes, from inside its graphs too. */
export function namesTaken(node: NodeProto): string[] {
  const inner = subgraphsOf(node).flatMap((graph) => [
    ...graph.node.flatMap(namesTaken),
    ...graph.output.map(({ name }) => name),
  ]);
  return [...node.input, ...inner].filter((name) => name !== '');
}

/** How to rewrite a graph; what is left out stays. */
export interface Rewriting {
  tensor?(tensor: TensorProto): TensorProto;
  /** The name of a value. */
  name?(name: string): string;
  /** In place of a node, whose own graphs have been rewritten. */
  node?(node: NodeProto): NodeProto[];
}

/** A graph rewritten with all graphs inside it. */
export function rewriteGraph(graph: GraphProto, rewriting: Rewriting): GraphProto {
  const { tensor = (value) => value, name = (value) => value, node: replace = (node) => [node] } = rewriting;
  const rename = (value: string) => (value === '' ? value : name(value));
  const attributes = (list: readonly AttributeProto[]) =>
    list.map((attribute) => ({
      ...attribute,
      ...(attribute.t === undefined ? {} : { t: tensor(attribute.t) }),
      ...(attribute.g === undefined ? {} : { g: rewriteGraph(attribute.g, rewriting) }),
    }));
  const named = <T extends { name?: string }>(value: T): T => ({ ...value, name: rename(value.name ?? '') });
  return {
    ...graph,
    node: graph.node.flatMap((node) =>
      replace({
        ...node,
        name: rename(node.name ?? ''),
        input: node.input.map(rename),
        output: node.output.map(rename),
        attribute: attributes(node.attribute),
      }),
    ),
    initializer: graph.initializer.map((value) => named(tensor(value))),
    input: graph.input.map(named),
    output: graph.output.map(named),
  };
}

/** The values of a graph that depend on `input` otherwise than by its shape. */
export function dependents(graph: GraphProto, input: string): Set<string> {
  const found = new Set([input]);
  for (const node of graph.node) {
    if (node.opType === 'Shape' || node.opType === 'Size') continue;
    if (namesTaken(node).some((name) => found.has(name))) for (const name of node.output) found.add(name);
  }
  return found;
}

/** The values that `output` is computed from, itself included; how `input` came about does not matter. */
export function sourcesOf(graph: GraphProto, output: string, input: string): Set<string> {
  const found = new Set([output]);
  for (const node of graph.node.toReversed()) {
    if (!node.output.some((name) => found.has(name) && name !== input)) continue;
    for (const name of namesTaken(node)) found.add(name);
  }
  return found;
}
