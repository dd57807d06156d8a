/**
 * Trainings on disk: everything that a continuation needs, in one safetensors file that appears whole or not at
 * all. Continuing gives bit for bit what an uninterrupted training gives.
 */
import * as v from 'valibot';
import {
  checked,
  type Entries,
  fields,
  flag,
  notNegative,
  number,
  optional,
  text,
  wholeNumber,
} from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { parseJson } from '../core/json.ts';
import { tensor } from '../core/tensor.ts';
import { openSafetensors, writeSafetensors } from '../saving/safetensors.node.ts';
import type { NamedTensor } from '../saving/tensors.ts';
import { type Callback, type CallbackState, type TrainingState, trainingStateSchema } from './callback.ts';

/** What the file keeps as JSON; the arrays become tensors. */
type Described = Omit<TrainingState, 'weights' | 'slots' | 'callbacks'> & {
  readonly format: 1;
  readonly slots: readonly string[];
  readonly weights: number;
  readonly callbacks: Readonly<Record<string, { values: CallbackState['values']; weights: number | null }>>;
};

/** Writes a training between two steps, aside and renamed; `loadCheckpoint` reads it. */
export async function saveCheckpoint(path: string, state: TrainingState): Promise<void> {
  checked(text, path, 'saveCheckpoint(path)');
  const { weights, slots, callbacks, ...rest } = checked(trainingStateSchema, state, 'saveCheckpoint(state)');
  const described: Described = {
    ...rest,
    format: 1,
    weights: weights.length,
    slots: Object.keys(slots),
    callbacks: Object.fromEntries(
      Object.entries(callbacks).map(([name, { values, weights: kept }]) => [
        name,
        { values, weights: kept === null ? null : kept.length },
      ]),
    ),
  };
  const tensors: NamedTensor[] = [
    ...weights.map((values, i) => vector(`weights/${i}`, values)),
    ...Object.entries(slots).map(([name, values]) => vector(`slots/${name}`, values)),
    ...Object.entries(callbacks).flatMap(([name, { weights: kept }]) =>
      (kept ?? []).map((values, i) => vector(`callbacks/${name}/${i}`, values)),
    ),
  ];
  await writeSafetensors(path, tensors, { training: JSON.stringify(described, markNonFinite) });
}

/** As `markNonFinite` writes it. */
const anyNumber = v.union([
  number,
  v.pipe(
    v.picklist(['#NaN', '#Infinity', '#-Infinity']),
    v.transform((text) => Number(text.slice(1))),
  ),
]);

const count = wholeNumber(0);
const logs = v.record(v.string(), anyNumber);

const describedSchema: v.GenericSchema<unknown, Described> = v.pipe(
  v.object({
    format: v.literal(1, '1, the format that this version of Graft reads'),
    epoch: count,
    batch: count,
    finished: flag,
    step: count,
    learningRate: number,
    totals: logs,
    history: v.array(logs),
    callbacks: v.record(
      v.string(),
      v.object({ values: v.record(v.string(), v.nullable(anyNumber)), weights: v.nullable(count) }),
    ),
    weights: count,
    slots: v.array(v.string()),
  } satisfies Entries<Described>),
  v.check(
    ({ epoch, history }) => history.length === epoch,
    'has the numbers of another count of epochs than are done',
  ),
);

/** Reads what `saveCheckpoint` wrote. Throws `file` if the file is missing, damaged, or something else. */
export async function loadCheckpoint(path: string): Promise<TrainingState> {
  checked(text, path, 'loadCheckpoint(path)');
  await using file = await openSafetensors(path);
  const json = file.metadata.get('training');
  if (json === undefined) fail('file', `${path} is not a checkpoint of a training.`);
  const described = checked(describedSchema, parseJson(json, path), path, 'file');
  const { format: _, weights, slots, callbacks, ...rest } = described;
  const read = async (name: string): Promise<Float32Array> => {
    if (!file.entries.has(name)) fail('file', `${path} is damaged: it lacks its ${name}.`);
    const { dtype, shape, data } = await file.read(name);
    if (dtype !== 'float32' || shape.length !== 1) {
      fail('file', `${path} is damaged: its ${name} is not a list of float32.`);
    }
    return data as Float32Array;
  };
  const list = async (prefix: string, length: number) => {
    const values: Float32Array[] = [];
    for (let i = 0; i < length; i++) values.push(await read(`${prefix}/${i}`));
    return values;
  };
  const slotValues: [string, Float32Array][] = [];
  for (const name of slots) slotValues.push([name, await read(`slots/${name}`)]);
  const callbackStates: [string, CallbackState][] = [];
  for (const [name, { values, weights: kept }] of Object.entries(callbacks)) {
    callbackStates.push([
      name,
      { values, weights: kept === null ? null : await list(`callbacks/${name}`, kept) },
    ]);
  }
  return {
    ...rest,
    weights: await list('weights', weights),
    slots: Object.fromEntries(slotValues),
    callbacks: Object.fromEntries(callbackStates),
  };
}

function vector(name: string, values: Float32Array): NamedTensor {
  return { name, tensor: tensor('float32', [values.length], values) };
}

/** JSON has no NaN and no infinity. */
function markNonFinite(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? `#${value}` : value;
}

/** When `backup` writes a checkpoint inside an epoch; `null` for never. */
export interface BackupOptions {
  /** Every so many steps, which then run one by one. Defaults to null. */
  readonly every?: number | null;
  /** Every so many minutes, between two steps. Defaults to null. */
  readonly minutes?: number | null;
}

const backupOptions = fields({
  every: optional(v.nullable(wholeNumber(1)), null),
  minutes: optional(v.nullable(notNegative), null),
} satisfies Entries<BackupOptions>);

/**
 * Writes a checkpoint after each epoch, when training stops inside one, and in between if asked
 * (keras.callbacks.BackupAndRestore).
 * Continue with `fit(data, { resume: await loadCheckpoint(path) })`.
 */
export function backup(path: string, options: BackupOptions = {}): Callback {
  checked(text, path, 'backup(path)');
  const { every, minutes } = checked(backupOptions, options, 'backup');
  let last = performance.now();
  const isTime = () => minutes !== null && performance.now() - last >= 60_000 * minutes;
  return {
    name: 'backup',
    stepwise: every !== null,
    onTrainBegin() {
      last = performance.now();
    },
    wantsToSettle: isTime,
    async onSettled(training) {
      const { batch, stopping } = training;
      const due = batch === 0 || stopping === 'step' || (every !== null && batch % every === 0) || isTime();
      if (!due) return;
      await saveCheckpoint(path, await training.state());
      last = performance.now();
    },
  };
}
