/** `graft lr-find`: which learning rate suits a training, by a short mock training at growing rates. */
import type { Command } from 'commander';
import { writeAtomically } from '../core/files.node.ts';
import type { LrFindResult, Suggestions } from '../training/lr_find.ts';
import { addCommonOptions, addDeviceOptions, wholeNumber } from './arguments.ts';
import { backboneTitle, checkLayers, explainWeights, fetchWeights } from './backbone.ts';
import type { TrainConfig } from './config.ts';
import { dataTitle, loadData } from './data.ts';
import { resolveModel } from './foreign.ts';
import { invocation, type Output, outputFor, shellWord, table, withoutOptions } from './output.ts';
import { describeModel } from './plan.ts';
import { configOf } from './train_config.ts';
import { addJobOptions, type TrainOptions } from './train_options.ts';
import { buildTraining } from './training_run.ts';

export interface LrFindCommandOptions extends TrainOptions {
  readonly steps: number;
  readonly out: string;
}

export function defineLrFind(command: Command): void {
  command.addHelpText('after', examples);
  addJobOptions(command)
    .optionsGroup('Test:')
    .option('--steps <n>', 'steps from rate 1e-7 to 10, each a batch', wholeNumber(20, 10_000), 100)
    .option('--out <file>', 'where the plot goes', 'lr-find.html');
  addCommonOptions(addDeviceOptions(command));
  command.action(runLrFind);
}

const examples = `
It takes the options of graft train and leaves nothing but the plot. Options that only matter
later, such as --epochs and --schedule, change nothing here.

Examples:
  $ graft lr-find --data pets
  $ graft lr-find --data cifar10 --recipe last-block --optimizer adam --limit 5000
  $ graft train --data cifar10 --recipe last-block --optimizer adam --learning-rate 3e-4`;

async function runLrFind(options: LrFindCommandOptions): Promise<void> {
  const out = outputFor(options);
  const { config: asked, choice } = await configOf(options, out);
  const config = await resolveModel(headAlone(asked));
  await checkLayers(config);
  if (choice !== null) out.say(choice);
  const data = await loadData(config, options.mirror, out);
  const weights = await fetchWeights(config, options.mirror, out);
  const { model } = await buildTraining({ config, out }, data, weights).catch(explainWeights);
  try {
    out.say(`\n${table([['Model', describeModel(config)]])}\n`);
    const { steps } = options;
    const found = await model.lrFind(data.train, {
      steps,
      batchSize: config.batchSize,
      verbose: out.verbose,
    });
    const title = `Learning rates: ${backboneTitle(config.backbone)} on ${dataTitle(config.data)}`;
    const command = ['graft', ...process.argv.slice(2).map(shellWord)].join(' ');
    const suggestions = found.suggestions && { ...found.suggestions };
    // What draws is loaded by the commands that draw.
    const { renderLearningRates } = await import('../report/learning_rates.ts');
    await writeAtomically(options.out, renderLearningRates(title, { ...found, suggestions }, command));
    tell(found, options.out, out);
  } finally {
    await model.close();
  }
}

/** Where only the head trains first, the rate that counts is the head's. */
function headAlone(config: TrainConfig): TrainConfig {
  return config.freezeEpochs > 0 ? { ...config, unfreezeFrom: null, freezeEpochs: 0 } : config;
}

function tell(found: LrFindResult, plot: string, out: Output): void {
  const { learningRates, losses, smoothedLosses, diverged, suggestions } = found;
  out.say(`\n${sketch(found)}\n`);
  if (suggestions === null) {
    out.result('The loss never falls at any rate: there is nothing to suggest.');
  } else {
    const rate = roundRate(suggestions.valley);
    out.result(
      table([
        ['Suggested', `${rate} (half of the way down the longest valley)`],
        ['Steepest', roundRate(suggestions.steepest)],
        ['Ended', diverged ? `the loss left at ${roundRate(learningRates.at(-1)!)}` : 'after all steps'],
      ]),
    );
    const args = withoutOptions(process.argv.slice(3), ['--steps', '--out', '--learning-rate']);
    const same = args.filter((word) => word !== '--json').map(shellWord);
    const next = ['train', ...same, '--learning-rate', rate].join(' ');
    out.say(
      `\n${table([
        ['Plot', plot],
        ['Next', `${invocation()} ${next}`],
      ])}`,
    );
  }
  out.json({
    ...{ command: 'lr-find', plot, suggestions, diverged },
    ...{ learningRates, losses, smoothedLosses },
  });
}

/** Two digits: the curve knows no more. */
function roundRate(rate: number): string {
  return rate.toExponential(1).replace('.0e', 'e');
}

const width = 40;

/** The averaged loss twice in each power of ten, as bars. */
function sketch({ learningRates, smoothedLosses, suggestions }: LrFindResult): string {
  const band = (rate: number) => Math.floor(2 * Math.log10(rate) + 1e-9);
  const bands = new Map(learningRates.map((rate, i) => [band(rate), { rate, loss: smoothedLosses[i]! }]));
  const rows = [...bands.values()].filter(({ loss }) => Number.isFinite(loss));
  const least = Math.min(...rows.map(({ loss }) => loss));
  // What leaves at the end would press the rest flat.
  const most = Math.min(Math.max(...rows.map(({ loss }) => loss)), 1.5 * rows[0]!.loss);
  const marks = (rate: number) =>
    (Object.entries(suggestions ?? {}) as [keyof Suggestions, number][])
      .filter(([, suggested]) => band(suggested) === band(rate))
      .map(([name]) => `  ${name}`);
  const line = ({ rate, loss }: { rate: number; loss: number }) => {
    const share = most === least ? 1 : Math.min((loss - least) / (most - least), 1);
    const bar = '━'.repeat(1 + Math.round(share * (width - 1))).padEnd(width);
    return `${rate.toExponential(0).padStart(7)}  ${loss.toFixed(3).padStart(7)}  ${bar}${marks(rate).join('')}`.trimEnd();
  };
  return ['   rate     loss', ...rows.map(line)].join('\n');
}
