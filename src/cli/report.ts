/** What a training says at its end: the result, where things are, what to do next. */
import { basename } from 'node:path';
import { duration } from '../training/progress.ts';
import { isOnnx } from './foreign.ts';
import { count, invocation, type Output, percent, plural, shellWord, table } from './output.ts';
import type { RunFolder, RunRecord } from './run_folder.ts';

/** A result and where it is, for people and as the object of `--json`. */
export function reportRun(command: string, folder: RunFolder, record: RunRecord, out: Output): void {
  const { metrics, memory, status } = record;
  const model = folder.file(record.model.file);
  if (status === 'finished') {
    out.say('');
    out.result(describeResult(record));
    out.say(`\n${describePlaces(folder, model, record)}`);
  }
  const { mainPeak = null, enginePeak = null } = memory ?? {};
  out.json({
    ...{ command, status, run: folder.path, model, history: folder.historyPath },
    ...(status === 'finished' ? { report: folder.reportPath } : {}),
    ...metrics,
    memory: { mainPeak, enginePeak },
  });
}

function describeResult({ metrics, data, config }: RunRecord): string {
  const { accuracy, valAccuracy, valLoss, testAccuracy, ttaAccuracy, bestEpoch, epochs } = metrics!;
  const { seconds, preparationSeconds, imagesPerSecond } = metrics!;
  const validatesOn = data.validatesOn ?? (config.validationSplit === null ? 'test' : 'validation');
  const validated = `${validatesOn} pictures`;
  const test =
    testAccuracy === undefined
      ? []
      : [['Test', `${percent(testAccuracy)} of ${plural(data.testImages ?? 0, 'test picture')}`] as const];
  const judged = testAccuracy === undefined ? validated : 'test pictures';
  const views =
    ttaAccuracy === undefined
      ? []
      : [['Views', `${percent(ttaAccuracy)} of the ${judged} with ${config.tta} views of each`] as const];
  return table([
    [
      'Accuracy',
      `${percent(valAccuracy)} of ${count(data.validationImages)} ${validated} (loss ${valLoss.toFixed(4)}), ` +
        `${percent(accuracy)} of ${count(data.trainingImages)} training pictures`,
    ],
    ...test,
    ...views,
    ['Epoch', `${bestEpoch} of ${epochs} was the best and is kept`],
    [
      'Time',
      `${duration(seconds)} in all: ${duration(preparationSeconds)} until the first step, then training at ` +
        `${count(Math.round(imagesPerSecond))} images/s`,
    ],
  ]);
}

function describePlaces(folder: RunFolder, model: string, { config, weights }: RunRecord): string {
  const also = isOnnx(config.backbone) ? `with ${basename(weights!.path)} beside it` : 'Keras opens it too';
  const graft = invocation();
  const path = shellWord(folder.path);
  return table([
    ['Model', `${model} (${also})`],
    ['Report', folder.reportPath],
    ['History', folder.historyPath],
    ['Record', folder.recordPath],
    ...(config.tensorboard ? [['Logs', `${folder.logPath} (tensorboard --logdir ${path})`] as const] : []),
    ['Next', `${graft} predict --model ${path} picture.jpg`],
    ['', `${graft} evaluate --model ${path}`],
  ]);
}
