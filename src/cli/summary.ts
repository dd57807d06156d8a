/** `graft summary`: Keras's table of a saved model, or of the one that options describe. */
import type { Command } from 'commander';
import { fail } from '../core/errors.ts';
import type { Layer } from '../layers/layer.ts';
import { Network } from '../models/network.ts';
import { summary } from '../models/summary.ts';
import type { Model } from '../training/model.ts';
import { addCommonOptions, type CommonOptions, isGiven } from './arguments.ts';
import { backboneOption, buildModel, findBackbone } from './backbone.ts';
import { classCountOf, dataWords, isPublished, parseData } from './data.ts';
import { isOnnx, resolveModel } from './foreign.ts';
import { loadSaved } from './open_model.ts';
import { type Output, outputFor } from './output.ts';
import { findModel } from './run_folder.ts';
import { modelConfigOf } from './train_config.ts';
import { addModelOptions, type ModelOptions } from './train_options.ts';

export interface SummaryCommandOptions extends CommonOptions, Partial<ModelOptions> {
  readonly model?: string;
  readonly data: string;
  readonly expandNested?: true;
  readonly showTrainable?: true;
}

export function defineSummary(command: Command): void {
  command
    .option('--model <path>', 'a model (.keras, .h5) or the folder of a run; graft inspect shows .onnx')
    .addOption(backboneOption('build a model instead'))
    .option('--data <what>', `whose classes it tells apart: ${dataWords}`, parseData, 'cifar10');
  addModelOptions(command)
    .option('--expand-nested', 'list the layers of the backbone too')
    .option('--show-trainable', 'say which layers train');
  addCommonOptions(command);
  command.addHelpText('after', examples).action(async (options: SummaryCommandOptions) => {
    await runSummary(command, options);
  });
}

const examples = `
Examples:
  $ graft summary --model runs/NAME
  $ graft summary --backbone resnet50 --unfreeze-from conv5_block1_1_conv --expand-nested --show-trainable`;

async function runSummary(command: Command, options: SummaryCommandOptions): Promise<void> {
  const out = outputFor(options);
  // A model that is named wins over a backbone of the config file.
  const wins = isGiven(command, 'model') && !isGiven(command, 'backbone');
  if ((options.model === undefined) === (options.backbone === undefined) && !wins) {
    fail('argument', 'Say which model: either --model FILE (or a run), or --backbone with its options.');
  }
  const model =
    options.model === undefined
      ? await built(options)
      : await saved(command, options.model, options.imageSize, out);
  const { expandNested = false, showTrainable = false } = options;
  out.result(summary(model, { expandNested, showTrainable }).trimEnd());
  const trainable = model.trainableVariables.reduce((total, { size }) => total + size, 0);
  const parameters = { total: model.countParams(), trainable, frozen: model.countParams() - trainable };
  out.json({
    command: 'summary',
    model: options.model ?? null,
    name: model.name,
    inputShape: [null, ...model.input.shape],
    outputShape: [null, ...model.result.shape],
    parameters,
    layers: layerRows(model, expandNested),
  });
}

async function saved(
  command: Command,
  given: string,
  imageSize: number | undefined,
  out: Output,
): Promise<Model> {
  const makes = ['backboneOutput', 'preprocessing', 'unfreezeFrom', 'head', 'augment', 'data'];
  const others = makes.filter((name) => isGiven(command, name));
  if (others.length > 0) {
    const flags = command.options.filter((option) => others.includes(option.attributeName()));
    fail(
      'argument',
      `--model shows a saved model as it is; leave out ${flags.map(({ long }) => long).join(', ')}.`,
    );
  }
  const { path, record } = await findModel(given);
  const size = isGiven(command, 'imageSize') ? imageSize : undefined;
  if (size !== undefined && record !== null)
    fail('argument', `--image-size is for models from elsewhere; the run of ${path} knows its own.`);
  return loadSaved(path, size, out);
}

/** The structure alone: no weights are read, and standardization has no statistics yet. */
async function built(options: SummaryCommandOptions): Promise<Model> {
  const chosen = modelConfigOf(options as ModelOptions);
  const weights = isOnnx(chosen.backbone)
    ? chosen.backbone
    : findBackbone(chosen.backbone).record.trainedOn.name;
  const config = await resolveModel({ ...chosen, weights });
  const { model } = await buildModel(config, {
    inputShape: isPublished(options.data) ? [32, 32, 3] : [config.imageSize, config.imageSize, 3],
    classes: await classCountOf(options.data),
    weights: null,
    measure: async (features) => {
      const width = features.result.shape[0]!;
      return { mean: new Array<number>(width).fill(0), variance: new Array<number>(width).fill(1) };
    },
  });
  return model;
}

function layerRows(network: Network, expand: boolean): object[] {
  return network.layers.flatMap((layer) => [
    {
      name: layer.name,
      className: layer.className,
      outputShape: [null, ...outputShapeOf(network, layer)],
      parameters: layer.variables.reduce((total, { size }) => total + size, 0),
      trainable: layer.variables.some(({ trainable }) => trainable),
    },
    ...(expand && layer instanceof Network ? layerRows(layer, expand) : []),
  ]);
}

function outputShapeOf(network: Network, layer: Layer): readonly number[] {
  return network.steps.find(({ output }) => output.layer === layer)?.output.shape ?? network.input.shape;
}
