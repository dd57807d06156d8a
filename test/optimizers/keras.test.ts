/** Ten updates of each optimizer beside Keras's, its state as Keras orders and names it, and schedules. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { float32, rows, type Tensor } from '../../src/core/tensor.ts';
import { type Node, topologicalOrder } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { evaluate, toValue, type Value } from '../../src/graph/reference.ts';
import { emitModel } from '../../src/onnx/emit.ts';
import {
  Optimizer,
  optimizer,
  optimizerFromKeras,
  rmsprop,
  sgd,
  type Updated,
} from '../../src/optimizers/index.ts';
import { cosineDecay, piecewiseConstantDecay, scheduleFromKeras } from '../../src/optimizers/schedules.ts';
import { Engine } from '../../src/runtime/engine.node.ts';
import { expectNear, expectNumbers, readGolden } from '../support/golden.ts';

interface Case {
  readonly name: string;
  readonly optimizer: string;
  readonly config: Record<string, unknown>;
  readonly excluded_from_weight_decay: readonly string[];
  readonly state: readonly { readonly name: string; readonly shape: readonly number[] }[];
}

interface ScheduleCase {
  readonly name: string;
  readonly schedule: string;
  readonly config: Record<string, unknown>;
  readonly values: readonly number[];
}

const golden = await readGolden<{
  steps: number;
  optimizers: readonly Case[];
  schedules: readonly ScheduleCase[];
}>('optimizers');
const { steps } = golden.json;
const variables = ['kernel', 'bias'] as const;

/** From Keras's config; exclusions are not part of it. */
function optimizerOf(each: Case): Optimizer {
  const read = optimizerFromKeras({ class_name: each.optimizer, config: each.config });
  if (each.excluded_from_weight_decay.length === 0) return read;
  return new Optimizer(read.rule, {
    ...read.options,
    excludeFromWeightDecay: each.excluded_from_weight_decay,
  });
}

/** A batch as a graph, with an update or without: every variable and slot that changes, and what it becomes. */
function updateGraph(made: Optimizer, updates = true, rateMultiplier = 1) {
  const next: Record<string, Node> = {};
  const initial: Record<string, Tensor> = {};
  const parameters = variables.map((name) => {
    const start = golden.tensor(`initial/${name}`);
    initial[name] = start;
    const slots = Object.fromEntries(
      made.slots.map((slot) => {
        initial[`${name}/${slot}`] = float32(start.shape, new Float32Array(start.data.length));
        return [slot, o.input(`${name}/${slot}`, start.shape)];
      }),
    );
    return {
      path: name,
      value: o.input(name, start.shape),
      gradient: o.mul(o.input(`${name}/gradient`, start.shape), made.lossScale),
      rateMultiplier,
      slots,
    };
  });
  const scalars = Object.fromEntries(
    Object.keys(made.scalarsAt(0, 0)).map((name) => [name, o.input(name, [])]),
  );
  const put = (slots: Readonly<Record<string, Node>>, i: number) => {
    for (const [slot, node] of Object.entries(slots)) next[`${variables[i]!}/${slot}`] = node;
  };
  if (!updates) made.accumulate(parameters)!.forEach(put);
  else {
    made.update(parameters, scalars).forEach(({ value, slots }, i) => {
      next[variables[i]!] = value;
      put(slots, i);
    });
  }
  return { next, initial };
}

function feedsAt(made: Optimizer, step: number): Record<string, Tensor> {
  const scalars = Object.entries(made.scalarsAt(step, made.rateAt(step)));
  return {
    ...Object.fromEntries(
      variables.map((name) => {
        const { shape, data } = rows(golden.tensor(`gradients/${name}`), step, step + 1);
        return [`${name}/gradient`, float32(shape.slice(1), data as Float32Array)];
      }),
    ),
    ...Object.fromEntries(scalars.map(([name, value]) => [name, float32([], [value])])),
  };
}

const valuesOf = (tensors: Readonly<Record<string, Tensor>>): Record<string, Value> =>
  Object.fromEntries(Object.entries(tensors).map(([name, value]) => [name, toValue(value)]));

function expected(name: string, step: number): Tensor {
  const { shape, data } = rows(golden.tensor(name), step, step + 1);
  return float32(shape.slice(1), data as Float32Array);
}

/** The state after the last step, as `Optimizer.slotOrder` puts it in a file. */
function expectState(group: string, each: Case, made: Optimizer, state: Readonly<Record<string, Value>>) {
  const scheduled = typeof made.options.learningRate !== 'number';
  const order = made.slotOrder(variables.length).map(({ weight, slot }) => `${variables[weight]}_${slot}`);
  const names = ['iteration', ...(scheduled ? [] : ['learning_rate']), ...order];
  expect(names).toEqual(each.state.map(({ name }) => name));
  expect(Number(golden.tensor(`${each.name}/state/0`).data[0])).toBe(steps);
  const first = names.length - order.length;
  made.slotOrder(variables.length).forEach(({ weight, slot }, i) => {
    const wanted = golden.tensor(`${each.name}/state/${first + i}`);
    expectNear(group, `${each.name}/${order[i]}`, state[`${variables[weight]}/${slot}`]!, wanted, 1e-5);
  });
}

const cases = golden.json.optimizers.map((each) => [each.name, each] as const);

describe('an optimizer read from its Keras config', () => {
  it.each(cases)('%s: ten steps in float64 equal Keras', (name, each) => {
    const made = optimizerOf(each);
    const { initial } = updateGraph(made);
    let state = valuesOf(initial);
    for (let step = 0; step < steps; step++) {
      const { next } = updateGraph(made, made.updatesAt(step));
      const results = evaluate(Object.values(next), { ...state, ...valuesOf(feedsAt(made, step)) });
      state = { ...state, ...Object.fromEntries(Object.keys(next).map((key, i) => [key, results[i]!])) };
      for (const variable of variables) {
        const wanted = expected(`${name}/variables/${variable}`, step);
        expectNear('optimizers, float64', `${name}/${variable}[${step}]`, state[variable]!, wanted, 1e-6);
      }
    }
    expectState('optimizer state, float64', each, made, state);
  });

  it.each(cases)('%s: at four times the rate and a multiplier of a quarter it is the same', (name, each) => {
    const plain = optimizerOf(each);
    const made = new Optimizer(plain.rule, {
      ...plain.options,
      learningRate: { keras: { class_name: '', config: {} }, at: (step) => 4 * plain.rateAt(step) },
    });
    let state = valuesOf(updateGraph(made).initial);
    for (let step = 0; step < steps; step++) {
      const { next } = updateGraph(made, made.updatesAt(step), 0.25);
      const results = evaluate(Object.values(next), { ...state, ...valuesOf(feedsAt(made, step)) });
      state = { ...state, ...Object.fromEntries(Object.keys(next).map((key, i) => [key, results[i]!])) };
    }
    for (const variable of variables) {
      const wanted = expected(`${name}/variables/${variable}`, steps - 1);
      expectNear('optimizers, multiplied rates', `${name}/${variable}`, state[variable]!, wanted, 1e-6);
    }
  });

  it.each(cases)('%s: writes the config that Keras wrote', (_, each) => {
    const { class_name, config } = optimizerFromKeras({
      class_name: each.optimizer,
      config: each.config,
    }).keras;
    expect(class_name).toBe(each.optimizer);
    const rounded = Object.fromEntries(
      Object.entries(config).map(([key, value]) => [
        key,
        typeof value === 'number' ? Math.fround(value) : value,
      ]),
    );
    const wanted = Object.fromEntries(
      Object.entries(each.config).map(([key, value]) => [
        key,
        typeof value === 'number' ? Math.fround(value) : value,
      ]),
    );
    expect(rounded).toEqual(wanted);
  });

  it('a rate that Keras rounded to float32 is read as the number that was meant', () => {
    const read = optimizerFromKeras({ class_name: 'Adam', config: { learning_rate: 0.0010000000474974513 } });
    expect(read.options.learningRate).toBe(0.001);
  });

  it('unknown optimizers, impossible averages and two kinds of clipping are refused', () => {
    expect(() => optimizerFromKeras({ class_name: 'Adagrad', config: {} })).toThrow('the optimizer Adagrad');
    expect(() => sgd({ useEma: true, emaMomentum: 2 })).toThrow(
      'emaMomentum must be a number from 0 to 1, got 2',
    );
    expect(() => sgd({ useEma: true, emaOverwriteFrequency: 0 })).toThrow('at least 1, got 0');
    expect(() => sgd({ useEma: true, gradientAccumulationSteps: 2 })).toThrow('leave one out');
    expect(() => optimizer('lamb' as 'sgd')).toThrow(
      'expected an optimizer (such as optimizers.adam() returns) or one of "sgd", "rmsprop", "adam", "adamw"',
    );
    expect(() => sgd({ clipnorm: 1, clipvalue: 1 })).toThrow('Only one of');
    expect(() => sgd({ learningRate: -1 })).toThrow(
      'learningRate must be a number of at least 0 or a schedule',
    );
    expect(() => sgd({ gradientAccumulationSteps: 1 })).toThrow('a whole number of at least 2, got 1');
    expect(() => sgd({ momentum: 2 })).toThrow('momentum must be a number from 0 to 1, got 2');
  });
});

describe('optimizers in the engine', () => {
  let engine: Engine;
  beforeAll(() => {
    engine = Engine.start({ threads: 1 });
  });
  afterAll(() => engine.close());

  const load = async (name: string, next: Readonly<Record<string, Node>>, state: readonly string[]) => {
    const outputs = Object.fromEntries(Object.entries(next).map(([key, node]) => [`${key}+`, node]));
    const used = topologicalOrder(Object.values(next));
    const inputs = new Set(used.flatMap((node) => (node.op === 'input' ? [node.attributes.name] : [])));
    const session = await engine.load(emitModel(outputs), {
      reads: Object.fromEntries(state.filter((key) => inputs.has(key)).map((key) => [key, `${name}/${key}`])),
      writes: Object.fromEntries(Object.keys(next).map((key) => [`${key}+`, `${name}/${key}`])),
    });
    return { session, inputs };
  };

  it.each(cases)('%s: ten steps equal Keras', async (name, each) => {
    const made = optimizerOf(each);
    const { initial } = updateGraph(made);
    const state = Object.keys(initial);
    const loaded = (updates: boolean) => load(name, updateGraph(made, updates).next, state);
    const withUpdate = await loaded(true);
    const without = made.updatesAt(0) ? null : await loaded(false);
    await engine.write(
      Object.fromEntries(Object.entries(initial).map(([key, value]) => [`${name}/${key}`, value])),
    );
    for (let step = 0; step < steps; step++) {
      const { session, inputs } = made.updatesAt(step) ? withUpdate : without!;
      const feeds = Object.entries(feedsAt(made, step)).filter(([key]) => inputs.has(key));
      await session.run(Object.fromEntries(feeds));
      const got = await engine.read(variables.map((variable) => `${name}/${variable}`));
      for (const variable of variables) {
        const wanted = expected(`${name}/variables/${variable}`, step);
        expectNear(
          'optimizers, engine',
          `${name}/${variable}[${step}]`,
          got[`${name}/${variable}`]!,
          wanted,
          2e-6,
        );
      }
    }
    const ended = await engine.read(state.map((key) => `${name}/${key}`));
    const values = Object.fromEntries(state.map((key) => [key, toValue(ended[`${name}/${key}`]!)]));
    expectState('optimizer state, engine', each, made, values);
    await withUpdate.session.release();
    await without?.session.release();
  });
});

describe('a learning-rate schedule', () => {
  it.each(golden.json.schedules.map((each) => [each.name, each] as const))(
    '%s equals Keras',
    (name, each) => {
      const schedule = scheduleFromKeras({ class_name: each.schedule, config: each.config });
      const got = each.values.map((_, step) => schedule.at(step));
      expectNumbers('schedules', name, got, each.values, 2e-8);
      expect(schedule.keras).toEqual({ class_name: each.schedule, config: each.config });
    },
  );

  it('refuses settings that make no schedule', () => {
    expect(() => cosineDecay({ initialLearningRate: 0.1, decaySteps: 0 })).toThrow('above 0, got 0');
    expect(() => piecewiseConstantDecay({ boundaries: [1], values: [1] })).toThrow(
      '1 boundaries need 2 values',
    );
    expect(() => scheduleFromKeras({ class_name: 'NoDecay', config: {} })).toThrow('PolynomialDecay');
  });
});

it('an average that never moves divides by the root of epsilon alone', () => {
  const rule = rmsprop({ rho: 1, epsilon: 0.25 });
  const [value, velocity, gradient, learningRate] = ['value', 'velocity', 'gradient', 'learningRate'].map(
    (name) => o.input(name, []),
  ) as [Node, Node, Node, Node];
  const scaled = o.mul(gradient, rule.lossScale);
  const parameter = { path: 'w', value, gradient: scaled, slots: { velocity } };
  const [updated] = rule.update([parameter], { learningRate }) as [Updated];
  const feeds = { value: 1, velocity: 0, gradient: 3, learningRate: 0.5 };
  const values = Object.fromEntries(
    Object.entries(feeds).map(([name, fed]) => [name, toValue(float32([], [fed]))]),
  );
  const [after, kept] = evaluate([updated.value, updated.slots['velocity']!], values, 1);
  // 1 − 0.5 · 3 / √0.25
  expect([after!.data[0], kept!.data[0]]).toEqual([-2, 0]);
});
