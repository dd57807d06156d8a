/** One training from its configuration to its folder; new, or continued where it stopped. */
import { existsSync } from 'node:fs';
import { explained, fail, messageOf } from '../core/errors.ts';
import { writeAtomically } from '../core/files.node.ts';
import { lengthOf } from '../data/index.ts';
import type { Callback, Logs } from '../training/callback.ts';
import {
  csvLogger,
  earlyStopping,
  modelCheckpoint,
  swapEmaWeights,
  tensorBoard,
  terminateOnNaN,
} from '../training/callbacks.ts';
import { backup, loadCheckpoint } from '../training/checkpoint.node.ts';
import type { FitOptions, History } from '../training/fit.ts';
import type { Model } from '../training/model.ts';
import { whileWaiting } from '../training/status_line.ts';
import { buildModel, explainWeights, fetchWeights, type WeightsFile } from './backbone.ts';
import { balancing, cacheOf, makeLoss, makeOptimizer, type TrainConfig } from './config.ts';
import { type LoadedData, loadData } from './data.ts';
import { summaryOf } from './data_findings.ts';
import { keepAssets } from './foreign.ts';
import { Interrupt, type StopSignal } from './interrupt.ts';
import { Meter } from './meter.ts';
import { invocation, type Output, shellWord, table } from './output.ts';
import { planRows } from './plan.ts';
import type { RunFolder, RunRecord } from './run_folder.ts';
import { judges, keepPredictions, measure, scoreViews } from './run_predictions.ts';
import {
  type Begun,
  bestEpochOf,
  checkUnchanged,
  modelFile,
  newRecord,
  type Progressed,
  recordOf,
  writeRecord,
} from './run_record.ts';
import { reportFinished } from './run_report.ts';
import { measureFeatures } from './standardize.ts';

export interface TrainingRequest extends Begun {
  readonly folder: RunFolder;
  readonly mirror: string | undefined;
  readonly out: Output;
}

export interface TrainedRun {
  readonly record: RunRecord;
  /** With the weights of the best epoch if the run is finished. Close it. */
  readonly model: Model;
  readonly data: LoadedData;
  /** What stopped it before its end; null if the run is finished. */
  readonly stoppedBy: StopSignal | null;
}

export async function runTraining(request: TrainingRequest): Promise<TrainedRun> {
  const { folder, config, previous, out } = request;
  const start = performance.now();
  using meter = new Meter();
  const resumeCommand = `${invocation()} train --resume ${shellWord(folder.path)}`;
  using interrupt = new Interrupt(() =>
    folder.exists
      ? `Stopped. Continue with: ${resumeCommand}`
      : 'Stopped before training began; nothing was written.',
  );
  const data = await loadData(config, request.mirror, out);
  const weights = await fetchWeights(config, request.mirror, out);
  meter.enter('features');
  checkUnchanged(previous, data, weights);
  const built = await buildTraining(request, data, weights).catch(explainWeights);
  const { model } = built;
  meter.watch(model);
  try {
    const plan = await planRows({ ...built, config, data, runPath: folder.path });
    out.say(`\n${table(plan)}\n`);
    await using _lock = previous ? null : await folder.lock();
    if (!previous) folder.checkFree();
    const begun = { ...newRecord(request, data, weights, model), plan };
    // First the record, which says what everything else in the folder is.
    await folder.write(begun);
    return await noteFailure(folder, async () => {
      // An imported backbone stays with the run, whatever becomes of its file.
      const kept = await keepAssets(folder, model);
      const record = kept === null ? begun : { ...begun, weights: kept };
      if (kept !== null) await folder.write(record);

      const history = await runEpochs(request, { model, data, meter, interrupt }, resumeCommand);
      const progress = { ...request, record, model, meter, history, start };
      const { signal } = interrupt;
      if (!history.completed && signal === null) await giveUp(progress);
      if (signal !== null && history.epochs.length < config.epochs) {
        return { record: await stop(progress, resumeCommand), model, data, stoppedBy: signal };
      }
      return { record: await finish(progress, data), model, data, stoppedBy: null };
    });
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** Writes into the record of a run, if something goes wrong, that and what it was: nobody is at work on it any more. */
async function noteFailure<T>(folder: RunFolder, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    // A disk that has no room for the rest may have none for this; what came first is what people have to know.
    await noteProblem(folder, messageOf(explained(error))).catch(() => undefined);
    throw error;
  }
}

async function noteProblem(folder: RunFolder, problem: string): Promise<void> {
  // Where nothing was worth keeping the folder is gone.
  if (!folder.exists) return;
  const record = await folder.read();
  // A loss that is no number has been recorded already.
  if (record.status === 'running') await folder.write({ ...record, status: 'failed', problem });
}

/** The model of a configuration, compiled, as it is before the first epoch. Features that had to be measured are kept for it. */
export async function buildTraining(
  { config, out }: Pick<TrainingRequest, 'config' | 'out'>,
  data: LoadedData,
  weights: WeightsFile | null,
) {
  const { seed, device, batchSize, precision, threads } = config;
  const cache = cacheOf(config);
  const common = { seed, device, cache, precision, ...(threads === null ? {} : { threads }) };
  let measured: Model | null = null;
  const built = await buildModel(config, {
    inputShape: data.train.shape.slice(1),
    classes: data.classNames.length,
    weights,
    measure: (features) => {
      measured = features;
      return measureFeatures(features, data.train, { ...common, batchSize, verbose: out.verbose });
    },
  });
  built.model.compile({
    ...common,
    optimizer: makeOptimizer(config, Math.ceil(lengthOf(data.train) / batchSize)),
    loss: makeLoss(config),
    metrics: ['accuracy'],
  });
  built.model.calibrate(data.train);
  if (measured !== null) await handOver(measured, built.model);
  return built;
}

/** The features that were measured are those of the training. */
async function handOver(measured: Model, model: Model): Promise<void> {
  model.takeFeatures(measured);
  await measured.close();
}

interface Running {
  readonly model: Model;
  readonly data: LoadedData;
  readonly meter: Meter;
  readonly interrupt: Interrupt;
}

async function runEpochs(
  { folder, config, previous, out }: TrainingRequest,
  { model, data, meter, interrupt }: Running,
  resumeCommand: string,
): Promise<History> {
  const state = folder.hasCheckpoint ? await loadCheckpoint(folder.checkpointPath) : null;
  await writeHistory(folder, state?.history ?? []);
  try {
    return await fitAsAsked(model, data, config, {
      batchSize: config.batchSize,
      validationData: data.validation,
      ...balancing(config.balance),
      verbose: out.verbose,
      resume: state,
      callbacks: [
        ...(config.ema === null ? [] : [swapEmaWeights()]),
        meter.callback,
        csvLogger(folder.historyPath, { append: true }),
        ...(config.tensorboard ? [tensorBoard(folder.logPath, { histogramFreq: 1 })] : []),
        modelCheckpoint(folder.file(modelFile(config)), { monitor: 'valAccuracy', saveBestOnly: true }),
        ...stoppingEarly(config),
        terminateOnNaN(),
        interrupt.callback,
        backup(folder.checkpointPath, { minutes: config.checkpointEvery }),
      ],
    });
  } catch (error) {
    if (folder.hasCheckpoint) out.say(`The last checkpoint is kept. Continue with: ${resumeCommand}`);
    // A model, of however few epochs, needs the record that names its classes.
    else if (previous === null && !existsSync(folder.file(modelFile(config)))) await folder.discard();
    throw error;
  }
}

/** Epochs of the head alone do not count. */
function stoppingEarly({ earlyStopping: patience, freezeEpochs }: TrainConfig): Callback[] {
  if (patience === null) return [];
  return [earlyStopping({ monitor: 'valAccuracy', patience, startFromEpoch: freezeEpochs })];
}

/** In one phase, or the head first. */
async function fitAsAsked(
  model: Model,
  { train }: LoadedData,
  { epochs, freezeEpochs }: TrainConfig,
  options: FitOptions,
): Promise<History> {
  if (freezeEpochs === 0) return model.fit(train, { ...options, epochs });
  return model.fineTune(train, { ...options, freezeEpochs, epochs: epochs - freezeEpochs });
}

/** The rows up to the checkpoint: a run that was killed may have written more. */
async function writeHistory({ historyPath }: RunFolder, epochs: readonly Logs[]): Promise<void> {
  const keys = Object.keys(epochs[0] ?? {});
  const rows = epochs.map((logs, epoch) => [epoch, ...keys.map((key) => logs[key] ?? 'NA')].join(','));
  const lines = epochs.length === 0 ? [] : [['epoch', ...keys].join(','), ...rows, ''];
  await writeAtomically(historyPath, lines.join('\n'));
}

/** A training that ends, and what was asked for. */
type Ending = Progressed & TrainingRequest & { readonly model: Model };

async function giveUp(progress: Ending): Promise<never> {
  const { folder } = progress;
  await folder.removeCheckpoint();
  await writeRecord(progress, 'failed');
  return fail(
    'state',
    `The loss is no longer a number (epoch ${progress.history.epochs.length + 1}), so training was stopped. ` +
      'Try a smaller --learning-rate.',
  );
}

async function stop(progress: Ending, resumeCommand: string): Promise<RunRecord> {
  const { folder, config, out, model, history } = progress;
  const path = folder.file(modelFile(config));
  if (history.epochs.length === 0) await model.save(path);
  const record = await writeRecord(progress, 'stopped');
  const kept = history.epochs.length === 0 ? 'the model as it is now' : 'the model of the best epoch so far';
  const saved = table([
    [`  ${folder.checkpointPath}`, 'everything to go on from here'],
    [`  ${path}`, kept],
  ]);
  out.result(
    `Stopped after ${history.epochs.length} of ${config.epochs} epochs. Saved:\n${saved}\n` +
      `Continue with: ${resumeCommand}`,
  );
  return record;
}

/** Accuracy with several views of each picture, which no kept features have. */
async function lookAgain({ model, config, out }: Ending, data: LoadedData): Promise<number> {
  const { pictures, on } = judges(data);
  out.say(`Looking at ${config.tta} views of the ${on} pictures`);
  const { tta, batchSize } = config;
  return (await scoreViews(model, pictures, { tta, batchSize, verbose: out.verbose })).accuracy;
}

/** Evaluates the file of the best epoch, through the features that are there already. */
async function finish(progress: Ending, data: LoadedData): Promise<RunRecord> {
  const { folder, config, out, model, meter, history, record } = progress;
  meter.enter('evaluation');
  const bestEpoch = bestEpochOf(history) + 1;
  out.say(`\nEpoch ${bestEpoch} was the best, kept in ${folder.file(record.model.file)}`);
  await model.loadWeights(folder.file(record.model.file));
  // The optimizer's state, as large as the weights, would come out of the engine when that ends.
  model.compiled.executor.setSlots(null, model.compiled.executor.step);
  const options = { batchSize: config.batchSize, verbose: out.verbose };
  const { accuracy, loss } = await measure(model, data.validation, `${data.validatesOn} picture`, options);
  const tested = data.test && (await measure(model, data.test, 'test picture', options));
  const predictions = await keepPredictions(folder, model, data, config, out.verbose);
  const evaluated = {
    valAccuracy: accuracy!,
    valLoss: loss!,
    ...(config.tta > 1 ? { ttaAccuracy: await lookAgain(progress, data) } : {}),
    ...(tested ? { testAccuracy: tested['accuracy']!, testLoss: tested['loss']! } : {}),
  };
  const finished = await recordOf(
    {
      ...progress,
      record: { ...record, data: { ...record.data, summary: await summaryOf(data) }, predictions },
    },
    'finished',
    evaluated,
  );
  // A run counts as finished when all of it is there: killed before, it does this once more.
  await whileWaiting('Writing the report', out.verbose, () => reportFinished(folder, finished, data));
  await folder.write(finished);
  await folder.removeCheckpoint();
  return finished;
}
