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

export function defineModels(command: Command): void {
  command.addHelpText('after', examples);
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
  /** Left out where a terminal is too narrow for all. */
  readonly spare?: true;
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
  { title: 'Top-5', text: (row) => onImagenet(row, 'top5'), right: true, spare: true },
  { title: 'Pictures', text: ({ preprocessing }) => preprocessing ?? 'in the model', spare: true },
  { title: 'Licence', text: ({ licence }) => licence },
];

function onImagenet({ trainedOn, accuracy }: Row, which: 'top1' | 'top5'): string {
  const value = accuracy[which];
  return trainedOn.name === 'imagenet' && value !== null ? percent(value) : '-';
}

function layout(rows: readonly Row[]): string {
  const whole = layoutColumns(rows, columns);
  const { isTTY, columns: width } = process.stdout;
  if (!isTTY || whole.indexOf('\n') <= width) return whole;
  const spare = columns.filter((column) => column.spare).map(({ title }) => title);
  const narrow = layoutColumns(
    rows,
    columns.filter((column) => !column.spare),
  );
  return `${narrow}\n\n${spare.join(' and ')} need a wider terminal (--json has them too).`;
}

function layoutColumns(rows: readonly Row[], shown: typeof columns): string {
  const cells = rows.map((row) => shown.map(({ text }) => text(row)));
  return columnsTable([shown.map(({ title }) => title), ...cells], (column) => shown[column]!.right === true);
}

function notes(rows: readonly Row[]): string {
  const others = rows.filter(({ trainedOn }) => trainedOn.name !== 'imagenet');
  const lines = others.map(
    ({ name, trainedOn, accuracy }) =>
      `\n${name} was trained by Graft on ${trainedOn.title}, ${percent(accuracy.top1)} of whose test pictures it gets ` +
      'right; its weights are part of Graft (docs/cifar_resnet.md).',
  );
  return (
    '\nParameters and multiply-adds (of one picture) count the classifier; the download for training does not. ' +
    'Accuracy on ImageNet as Keras publishes it. Pictures: how Graft prepares them for the backbone. ' +
    `Licence: of the weights.${lines.join('')}\n\nUse one: ${invocation()} train --data cifar10 --backbone NAME`
  );
}
