/**
 * Trainings on disk: everything that a continuation needs, in one safetensors file that appears whole or not at
 * all. Continuing gives bit for bit what an uninterrupted training gives.
 */
import { fail } from '../core/errors.ts';
import { type Tensor, tensor } from '../core/tensor.ts';
import { openSafetensors, writeSafetensors } from '../saving/safetensors.node.ts';
import type { NamedTensor } from '../saving/tensors.ts';
import type { Callback, CallbackState, TrainingState } from './callback.ts';

/** What the file keeps as JSON; the arrays become tensors. */
type Described = Omit<TrainingState, 'weights' | 'slots' | 'callbacks'> & {
  readonly format: 1;
  readonly slots: readonly string[];
  readonly weights: number;
  readonly callbacks: Readonly<Record<string, { values: CallbackState['values']; weights: number | null }>>;
};

/** Writes a training between two steps, aside and renamed; `loadCheckpoint` reads it. */
export async function saveCheckpoint(path: string, state: TrainingState): Promise<void> {
  const { weights, slots, callbacks, ...rest } = state;
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

/** Reads what `saveCheckpoint` wrote. Throws `file` if the file is missing, damaged, or something else. */
export async function loadCheckpoint(path: string): Promise<TrainingState> {
  await using file = await openSafetensors(path);
  const json = file.metadata.get('training');
  if (json === undefined) fail('file', `${path} is not a checkpoint of a training.`);
  const described = JSON.parse(json, restoreNonFinite) as Described;
  const { format, weights, slots, callbacks, ...rest } = described;
  if (format !== 1)
    fail('file', `${path} has checkpoint format ${String(format)}; this version reads format 1.`);
  const read = async (name: string) => ((await file.read(name)) as Tensor<'float32'>).data;
  const list = async (prefix: string, count: number) => {
    const values: Float32Array[] = [];
    for (let i = 0; i < count; i++) values.push(await read(`${prefix}/${i}`));
    return values;
  };
  const slotValues: Record<string, Float32Array> = {};
  for (const name of slots) slotValues[name] = await read(`slots/${name}`);
  const callbackStates: Record<string, CallbackState> = {};
  for (const [name, { values, weights: kept }] of Object.entries(callbacks)) {
    callbackStates[name] = { values, weights: kept === null ? null : await list(`callbacks/${name}`, kept) };
  }
  return { ...rest, weights: await list('weights', weights), slots: slotValues, callbacks: callbackStates };
}

function vector(name: string, values: Float32Array): NamedTensor {
  return { name, tensor: tensor('float32', [values.length], values) };
}

/** JSON has no NaN and no infinity. */
function markNonFinite(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? `#${value}` : value;
}

function restoreNonFinite(_key: string, value: unknown): unknown {
  return typeof value === 'string' && /^#(NaN|-?Infinity)$/.test(value) ? Number(value.slice(1)) : value;
}

/** When `backup` writes a checkpoint inside an epoch; `null` for never. */
export interface BackupOptions {
  /** Every so many steps, which then run one by one. Defaults to null. */
  readonly every?: number | null;
  /** Every so many minutes, between two steps. Defaults to null. */
  readonly minutes?: number | null;
}

/**
 * Writes a checkpoint after each epoch, when training stops inside one, and in between if asked
 * (keras.callbacks.BackupAndRestore).
 * Continue with `fit(data, { resume: await loadCheckpoint(path) })`.
 */
export function backup(path: string, { every = null, minutes = null }: BackupOptions = {}): Callback {
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
