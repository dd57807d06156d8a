/** Who uses a value of a graph. */
import { type Node, topologicalOrder } from '../graph/node.ts';

/** The nodes that take each value as an input; a node that takes it twice is listed twice. */
export function consumersOf(outputs: readonly Node[]): Map<Node, Node[]> {
  const consumers = new Map<Node, Node[]>();
  for (const node of topologicalOrder(outputs)) {
    consumers.set(node, []);
    for (const input of node.inputs) consumers.get(input)!.push(node);
  }
  return consumers;
}

/** How often each value is used; being an output is a use. */
export function countUses(outputs: readonly Node[]): Map<Node, number> {
  const uses = new Map([...consumersOf(outputs)].map(([node, users]) => [node, users.length]));
  for (const output of outputs) uses.set(output, uses.get(output)! + 1);
  return uses;
}
