/**
 * Several steps in one run: the graph of one becomes the body of a Scan, which hands state on from step to step as
 * jax.lax.scan does. So the runtime's JavaScript, which copies all state that leaves a run, does it once for several.
 */
import { fail } from '../core/errors.ts';
import { attributeProto, attributeTypes, type GraphProto, type ValueInfoProto } from './proto.ts';
import { rewriteGraph } from './walk.ts';

/** What of a graph's inputs and outputs changes from step to step; other inputs are the same for all. */
export interface Repetition {
  /** Inputs that each step has its own of: with a first axis for steps they hold those of all. So do the outputs. */
  readonly feeds: readonly string[];
  /** Outputs that are an input of the next step. They leave with what they are after the last one. */
  readonly carried: Readonly<Record<string, string>>;
}

/** The graph for any number of steps. */
export function repeated(graph: GraphProto, { feeds, carried }: Repetition): GraphProto {
  const info = (infos: readonly ValueInfoProto[]) => (wanted: string) =>
    infos.find(({ name }) => name === wanted) ?? fail('argument', `The graph has no "${wanted}" to repeat.`);
  const states = Object.keys(carried).map(info(graph.output));
  const results = graph.output.filter(({ name }) => !(name in carried));
  const initial = Object.values(carried).map(info(graph.input));
  const fed = feeds.map(info(graph.input));
  const shared = graph.input.filter((input) => !initial.includes(input) && !fed.includes(input));
  const inside = new Set(shared.map(({ name }) => name));
  const names = (infos: readonly ValueInfoProto[]) => infos.map(({ name }) => name);
  const body = rewriteGraph(
    { ...graph, name: 'step', input: [...initial, ...fed], output: [...states, ...results] },
    { name: (name) => (inside.has(name) ? name : `%step/${name}`) },
  );
  return {
    name: graph.name,
    node: [
      {
        opType: 'Scan',
        name: 'steps',
        input: names([...initial, ...fed]),
        output: names([...states, ...results]),
        attribute: [
          { name: 'body', type: attributeTypes.graph, g: body },
          attributeProto('num_scan_inputs', fed.length),
        ],
      },
    ],
    initializer: [],
    input: [...initial, ...fed.map(ofSteps), ...shared],
    output: [...states, ...results.map(ofSteps)],
  };
}

function ofSteps({ name, type: { tensorType } }: ValueInfoProto): ValueInfoProto {
  const { elemType, shape } = tensorType;
  const steps = { dimParam: 'steps' };
  return { name, type: { tensorType: { elemType, shape: { dim: [steps, ...(shape?.dim ?? [])] } } } };
}
