/** `graft inspect`: what an ONNX file is, and where it can be cut to serve as a backbone. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import * as applications from '../applications/index.ts';
import { addCommonOptions, type CommonOptions, wholeNumber } from './arguments.ts';
import { count, invocation, outputFor, shellWord, table } from './output.ts';

export interface InspectOptions extends CommonOptions {
  readonly imageSize?: number;
}

export function defineInspect(command: Command): void {
  command
    .argument('<file>', 'an .onnx file')
    .option(
      '--image-size <pixels>',
      'height and width of the pictures it is tried with',
      wholeNumber(1, 2048),
    );
  addCommonOptions(command);
  command.addHelpText('after', examples).action(runInspect);
}

const examples = `
It lists the tensors that separate the file into what a picture goes through before and after;
others are in --json.

Examples:
  $ graft inspect model.onnx
  $ graft inspect model.onnx --image-size 384 --json`;

type Inspection = applications.OnnxInspection;

async function runInspect(file: string, { imageSize, ...options }: InspectOptions): Promise<void> {
  const out = outputFor(options);
  const shape = imageSize === undefined ? undefined : ([imageSize, imageSize, 3] as const);
  const inspection = await applications.inspectOnnx(resolve(file), shape);
  out.result(describeFile(file, inspection));
  out.result(`\n${describeTensors(inspection)}`);
  const train = `${invocation()} train --data cifar10 --backbone ${shellWord(file)} --head linear`;
  const usual = inspection.input.channels === 1 ? 'unit' : 'torch';
  const missing = inspection.notes.normalization === null ? ` --preprocessing ${usual}` : '';
  out.say(`\n* is where it is cut if --backbone-output names no other.\nNext: ${train}${missing}`);
  out.json({ command: 'inspect', file: inspection.path, ...facts(inspection) });
}

function facts({ model, parameters, input, inputShape, tensors, suggested, notes }: Inspection): object {
  return {
    producer: producerOf(model),
    irVersion: model.irVersion,
    operatorSets: Object.fromEntries(
      model.opsetImport.map(({ domain, version }) => [domain || 'ai.onnx', version]),
    ),
    parameters,
    metadata: Object.fromEntries(model.metadataProps.map(({ key, value }) => [key, value])),
    input: {
      name: input.name,
      layout: input.layout,
      shape: shapeOf(input),
      dynamicBatch: input.batch === null,
    },
    inputShape,
    preprocessing: notes.normalization && applications.normalizationText(notes.normalization),
    preprocessingSource: notes.source,
    suggested: suggested.name,
    tensors: tensors.map(({ name, opType, shape, layout, separates }) => ({
      ...{ name, operation: opType, shape: [null, ...shape], separates },
      ...(shape.length === 3 ? { layout } : {}),
    })),
  };
}

function describeFile(file: string, inspection: Inspection): string {
  const { model, parameters, input, inputShape, notes } = inspection;
  const [height, width] = inputShape;
  const sets = model.opsetImport.map(({ domain, version }) => `${domain ? `${domain} ` : ''}${version}`);
  const { normalization, source } = notes;
  return table([
    ['File', file],
    ['Made by', `${producerOf(model) || 'unknown'}, operator set ${sets.join(', ')}`],
    ['Parameters', count(parameters)],
    ...model.metadataProps.map(({ key, value }) => [key, value.slice(0, 200)] as const),
    [
      'Input',
      `${input.name} (${shapeOf(input)
        .map((dim) => dim ?? 'any')
        .join(', ')}), tried with ${height}x${width}`,
    ],
    [
      'Pixels',
      normalization === null
        ? 'it does not say how they are normalised: --preprocessing'
        : `${applications.normalizationText(normalization)} (${source})`,
    ],
  ]);
}

function describeTensors({ tensors, suggested }: Inspection): string {
  const rows = tensors
    .filter(({ separates }) => separates)
    .map(({ name, opType, shape, layout }) => [
      `${name === suggested.name ? '*' : ' '} ${name}`,
      `(${['batch', ...shape].join(', ')})${shape.length === 3 && layout === 'channelsLast' ? ' channels last' : ''}`,
      opType,
    ]);
  const width = (column: number) => Math.max(...rows.map((row) => row[column]!.length)) + 2;
  const widths = [width(0), width(1)];
  return rows.map(([a, b, c]) => a!.padEnd(widths[0]!) + b!.padEnd(widths[1]!) + c).join('\n');
}

function shapeOf({ layout, batch, height, width, channels }: Inspection['input']): (number | null)[] {
  return layout === 'channelsFirst' ? [batch, channels, height, width] : [batch, height, width, channels];
}

function producerOf({ producerName, producerVersion }: Inspection['model']): string {
  return [producerName, producerVersion].filter((part) => part).join(' ');
}
