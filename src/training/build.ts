/** Making models: of layers, or from files. */
import * as v from 'valibot';
import { checked, type Entries, fields, flag, optional, text, wholeNumber } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { input } from '../layers/input.ts';
import {
  Layer,
  type LayerOptions,
  layerEntries,
  layerSchema,
  type SymbolicTensor,
  symbolic,
} from '../layers/layer.ts';
import { type FunctionalOptions, Network } from '../models/network.ts';
import { loadModel, namingTheWay } from '../saving/index.ts';
import { Model } from './model.ts';

const functionalOptions = fields({
  ...layerEntries,
  inputs: symbolic,
  outputs: symbolic,
} satisfies Entries<FunctionalOptions>);

/** A model from its input and output (keras.Model). */
export function model(options: FunctionalOptions): Model {
  return new Model('Functional', checked(functionalOptions, options, 'model'));
}

const partsSchema = v.array(
  v.union([layerSchema, symbolic]),
  'an array that begins with layers.input({ shape: [...] }) or a model',
);
const sequentialOptions = fields(layerEntries);

/** A chain of layers (keras.Sequential). The first is `layers.input({ shape })` or a model. */
export function sequential(parts: readonly (SymbolicTensor | Layer)[], options: LayerOptions = {}): Model {
  const [first, ...rest] = checked(partsSchema, parts, 'sequential');
  const given = checked(sequentialOptions, options, 'sequential');
  let inputs: SymbolicTensor;
  if (first instanceof Network) inputs = input({ shape: first.input.shape });
  else if (first === undefined || first instanceof Layer) {
    return fail(
      'argument',
      'sequential begins with layers.input({ shape: [...] }) or a model, so that shapes are known.',
    );
  } else inputs = first;
  const chain = first instanceof Network ? [first, ...rest] : rest;
  const outputs = chain.reduce<SymbolicTensor>((current, part) => {
    if (!(part instanceof Layer))
      fail('argument', 'Only the first part of a sequential model can be an input.');
    return part.apply(current);
  }, inputs);
  return new Model('Sequential', { ...given, inputs, outputs });
}

/** Options of `models.load`. */
export interface LoadOptions {
  /** False leaves out how the model was trained, which may be something that Graft does not have. */
  readonly compile?: boolean;
  /**
   * Without the batch: [224, 224, 3]. For a model that leaves the size of its images open, as Keras's
   * `Input((None, None, 3))` does; what the file says must fit.
   */
  readonly inputShape?: readonly number[];
}

const loadOptions = fields({
  compile: optional(flag, true),
  inputShape: optional(v.array(wholeNumber(1), 'an array of height, width and channels')),
} satisfies Entries<LoadOptions>);

/**
 * Reads a model from a file (keras.models.load_model). If it was compiled when it was saved, it is compiled again
 * and its optimizer goes on where it stopped.
 */
export async function load(path: string, options: LoadOptions = {}): Promise<Model> {
  checked(text, path, 'models.load(path)');
  const { compile, inputShape } = checked(loadOptions, options, 'models.load');
  const make = (...[className, parts]: ConstructorParameters<typeof Model>) => new Model(className, parts);
  const saved = await loadModel(path, make, { training: compile, inputShape });
  const loaded = saved.network as Model;
  const { training } = saved;
  if (training !== null) namingTheWay(() => loaded.restoreTraining(training));
  return loaded;
}
