/** `graft models`: the pretrained backbones, side by side. */
import type { Command } from 'commander';
import * as applications from '../applications/index.ts';
import { multiplyAdds } from '../models/multiply_adds.ts';
import { addCommonOptions, type CommonOptions } from './arguments.ts';
import { columnsTable, invocation, megabytes, outputFor, percent } from './output.ts';

/** One backbone: what is recorded about it, and what its layers add up to. */
interface Row extends Omit<applications.ApplicationRecord, 'noTop' | 'top'> {
  /** The weights are part of Graft. */
  readonly packaged: boolean;
  readonly parametersWithoutTop: number;
  /** Of predicting one picture at the model's own size, classifier included. */
  readonly multiplyAdds: number;
  /** Of the float32 weights, with the classifier and without it. */
  readonly weightsBytes: number;
  readonly weightsBytesWithoutTop: number;
}

export function defineModels(program: Command): void {
  const command = program
    .command('models')
    .description('List the pretrained backbones: size, work, licence, accuracy.')
    .addHelpText('after', examples);
  addCommonOptions(command).action((options: CommonOptions) => {
    const out = outputFor(options);
    const rows = applications.all.map(describe);
    out.result(layout(rows));
    out.say(notes(rows));
    out.json({ command: 'models', models: rows });
  });
}

const examples = `
Examples:
  $ graft models
  $ graft models --json
  $ graft train --data cifar10 --backbone mobilenet_v2
  $ graft summary --backbone densenet121 --expand-nested`;

function describe({ record, structure }: applications.Application): Row {
  const { noTop, top: _top, ...known } = record;
  const whole = structure();
  const parametersWithoutTop = structure({ includeTop: false }).countParams();
  return {
    ...known,
    packaged: 'packaged' in noTop,
    parametersWithoutTop,
    multiplyAdds: multiplyAdds(whole),
    weightsBytes: 4 * whole.countParams(),
    weightsBytesWithoutTop: 4 * parametersWithoutTop,
  };
}

const columns: readonly {
  readonly title: string;
  readonly text: (row: Row) => string;
  readonly right?: true;
}[] = [
  { title: 'Name', text: ({ name }) => name },
  { title: 'Size', text: ({ inputSize }) => String(inputSize), right: true },
  { title: 'Parameters', text: ({ parameters }) => `${(parameters / 1e6).toFixed(1)} M`, right: true },
  { title: 'Multiply-adds', text: (row) => `${(row.multiplyAdds / 1e9).toFixed(2)} G`, right: true },
  {
    title: 'Download',
    text: ({ packaged, weightsBytesWithoutTop }) => (packaged ? 'none' : megabytes(weightsBytesWithoutTop)),
    right: true,
  },
  { title: 'Top-1', text: (row) => onImagenet(row, 'top1'), right: true },
  { title: 'Top-5', text: (row) => onImagenet(row, 'top5'), right: true },
  { title: 'Pictures', text: ({ preprocessing }) => preprocessing ?? 'in the model' },
  { title: 'Licence', text: ({ licence }) => licence },
];

function onImagenet({ trainedOn, accuracy }: Row, which: 'top1' | 'top5'): string {
  const value = accuracy[which];
  return trainedOn.name === 'imagenet' && value !== null ? percent(value) : '-';
}

function layout(rows: readonly Row[]): string {
  const cells = rows.map((row) => columns.map(({ text }) => text(row)));
  return columnsTable(
    [columns.map(({ title }) => title), ...cells],
    (column) => columns[column]!.right === true,
  );
}

function notes(rows: readonly Row[]): string {
  const others = rows.filter(({ trainedOn }) => trainedOn.name !== 'imagenet');
  const lines = others.map(
    ({ name, trainedOn, accuracy }) =>
      `\n${name} was trained by Graft on ${trainedOn.title}, ${percent(accuracy.top1)} of whose test pictures it gets ` +
      'right; its weights are\npart of Graft (docs/cifar_resnet.md).',
  );
  return (
    '\nParameters and multiply-adds (of one picture) count the classifier; the download for training does not. ' +
    'Accuracy on\nImageNet as Keras publishes it. Pictures: how Graft prepares them for the backbone. ' +
    `Licence: of the weights.${lines.join('')}\nUse one: ${invocation()} train --data cifar10 --backbone NAME`
  );
}
