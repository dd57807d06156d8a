/**
 * The folder of a run: `run.json` (what was asked, with what, what came out), `history.csv`, the model, and a
 * checkpoint while the run is unfinished. Each file appears whole or not at all.
 */
import { existsSync, statSync } from 'node:fs';
import { readdir, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { checked } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { kindOf, refuseKind } from '../core/file_kind.node.ts';
import { checkWritable, isUnfinished, readJson, writeJson } from '../core/files.node.ts';
import { graftVersion } from '../core/version.node.ts';
import type { Beside } from '../report/curves.ts';
import type { DataSummary } from '../report/data_summary.ts';
import { findRuntime } from '../runtime/onnxruntime.node.ts';
import type { WeightsFile } from './backbone.ts';
import type { TrainConfig } from './config.ts';
import { invocation, type Row, shellWord } from './output.ts';
import { runRecord } from './record_schema.ts';
import { lockRun } from './run_lock.ts';

/** What a training came to. Without a prefix: on the training pictures, in the best epoch. */
export interface Metrics {
  readonly accuracy: number;
  readonly loss: number;
  /** Of the model that was kept, on the validation pictures. */
  readonly valAccuracy: number;
  readonly valLoss: number;
  /** On the test pictures, where validation pictures were split off the training pictures. */
  readonly testAccuracy?: number;
  readonly testLoss?: number;
  /** The mean of several views of each picture, where that was asked for: on the test pictures if there are some. */
  readonly ttaAccuracy?: number;
  /** The whole run, loading and features included; all its sessions, if it was continued. */
  readonly seconds: number;
  /** Before the first epoch: reading data and computing features of the frozen part. */
  readonly preparationSeconds: number;
  /** Pictures trained in a second of training, without preparation and validation. */
  readonly imagesPerSecond: number;
  /** Epochs done. */
  readonly epochs: number;
  /** The epoch that was kept, from 1. */
  readonly bestEpoch: number;
}

export interface Memory {
  /** Largest resident sizes of this process and of the engines', in bytes; null where the system does not say. */
  readonly mainPeak: number;
  readonly enginePeak: number | null;
  /** Resident sizes at the end of each epoch. */
  readonly epochs: readonly { readonly main: number; readonly engine: number | null }[];
}

/** Pictures and weights; model and features of the frozen part; and then epoch by epoch, and the end. */
export type PhaseName = 'loading' | 'features' | 'training' | 'validation' | 'saving' | 'evaluation';

export interface Phase {
  readonly name: PhaseName;
  readonly seconds: number;
  /** Bytes: the largest resident size that was seen, of this process and the engines' together. */
  readonly memory: number;
}

/** One process that worked on the run. */
export interface Session {
  readonly seconds: number;
  readonly preparationSeconds: number;
  /** Spent in steps, and the pictures that went through them. */
  readonly trainingSeconds: number;
  readonly images: number;
  /** Since reports are written. */
  readonly phases?: readonly Phase[];
}

/** What the kept model made of the pictures that the report is about. */
export interface PredictionsRecord {
  /** `labels`, int32 [n], and `probabilities`, float32 [n, classes]. */
  readonly file: string;
  /** The test pictures where there are some beside those that chose the epoch. */
  readonly on: 'test' | 'validation';
  readonly fingerprint: string;
  /** Which pictures they are, whatever size they were read at. Since runs at different sizes are compared. */
  readonly sources?: string;
  /**
   * Whose feature map the file explains the worst mistakes by: `saliencyIndices`, int32 [m], and `saliencyMaps`,
   * float32 [m, height, width]. Null if the model has no feature map; absent before there was an explanation.
   */
  readonly saliencyLayer?: string | null;
}

export interface RunRecord {
  readonly format: 1;
  readonly status: 'running' | 'stopped' | 'failed' | 'finished';
  /** What went wrong in a failed run that can be resumed; absent where its loss was no longer a number. */
  readonly problem?: string;
  readonly config: TrainConfig;
  readonly versions: Readonly<Record<'graft' | 'node' | 'onnxruntime', string>> & {
    readonly platform: string;
  };
  readonly data: {
    readonly fingerprint: string;
    readonly trainingImages: number;
    readonly validationImages: number;
    readonly testImages: number | null;
    /** What the best epoch was chosen by. */
    readonly validatesOn?: 'test' | 'validation';
    readonly classNames: readonly string[];
    /** Of a finished run: pictures by class and split, and what was found among them. */
    readonly summary?: DataSummary;
  };
  readonly weights: WeightsFile | null;
  readonly model: { readonly file: string; readonly parameters: number; readonly trainable: number };
  /** What was typed, without the program: `train --data cifar10`. Since reports are written. */
  readonly command?: readonly string[];
  /** What was said before the training: data, model, what trains and what is frozen. Since reports are written. */
  readonly plan?: readonly Row[];
  /** Of a finished run, since reports are written. */
  readonly predictions?: PredictionsRecord;
  /** What `graft start` trained beside it. */
  readonly beside?: Beside;
  readonly sessions: readonly Session[];
  /** Null before the first epoch is done. */
  readonly metrics: Metrics | null;
  readonly memory: Memory | null;
}

/** Of a run that is finished, which its schema requires to have metrics. */
export type FinishedRecord = RunRecord & { readonly metrics: Metrics };

export class RunFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  get recordPath(): string {
    return join(this.path, 'run.json');
  }

  get historyPath(): string {
    return join(this.path, 'history.csv');
  }

  get reportPath(): string {
    return join(this.path, 'report.html');
  }

  /** TensorBoard's logs. */
  get logPath(): string {
    return join(this.path, 'tensorboard');
  }

  get checkpointPath(): string {
    return join(this.path, 'checkpoint.safetensors');
  }

  file(name: string): string {
    return join(this.path, name);
  }

  get exists(): boolean {
    return existsSync(this.recordPath);
  }

  /** Throws `argument` if the folder holds a run already. */
  checkFree(): void {
    if (!this.exists) return;
    fail(
      'argument',
      `--out ${this.path}: this folder holds a run already. Name another one, remove it, or continue it with ` +
        `${invocation()} train --resume ${shellWord(this.path)}`,
    );
  }

  /** Throws `file` if nothing can be written here: better before data is loaded than at the first checkpoint. */
  async checkWritable(): Promise<void> {
    await checkWritable(this.path);
  }

  /** Keeps other processes from the run. Throws `state` if one of them is at work on it. */
  async lock(): Promise<AsyncDisposable> {
    const lock = await lockRun(this.#lockPath);
    // What a killed process was writing; nobody else writes here now.
    for (const name of await readdir(this.path)) {
      if (isUnfinished(name)) await rm(this.file(name), { force: true });
    }
    return lock;
  }

  get #lockPath(): string {
    return join(this.path, 'run.lock');
  }

  /** Clears away what a process left that was killed after it had finished the run, or given it up. */
  async tidy(): Promise<void> {
    if (!existsSync(this.#lockPath) && !this.hasCheckpoint) return;
    await using _lock = await this.lock();
    await this.removeCheckpoint();
  }

  get hasReport(): boolean {
    return existsSync(this.reportPath);
  }

  get hasCheckpoint(): boolean {
    return existsSync(this.checkpointPath);
  }

  /** Throws `argument` if this is no run folder, `file` if its record is damaged. */
  async read(): Promise<RunRecord> {
    if (!this.exists) {
      fail(
        'argument',
        `${this.path} is no run folder: it has no run.json. Expected a folder that graft train made.`,
      );
    }
    return checked(runRecord, await readJson(this.recordPath), this.recordPath, 'file');
  }

  /** The same of a run that has to be finished. Throws `state` if it is not. */
  async readFinished(): Promise<FinishedRecord> {
    const record = await this.read();
    const { status, metrics } = record;
    if (status === 'finished' && metrics !== null) return { ...record, metrics };
    return fail('state', `${this.path} is ${status}; expected a finished run.`);
  }

  async write(record: RunRecord): Promise<void> {
    await writeJson(this.recordPath, record);
  }

  /** Removes a run that came to nothing; other files in the folder stay. */
  async discard(): Promise<void> {
    for (const path of [this.recordPath, this.historyPath, this.#lockPath]) await rm(path, { force: true });
    await rmdir(this.path).catch(() => undefined);
  }

  /** Removes the weights and keeps the books: record, history, predictions, report. */
  async removeModel(): Promise<void> {
    if (!this.exists) return;
    const { model, weights } = await this.read();
    await rm(this.file(model.file), { force: true });
    // An imported backbone lies beside the model.
    const beside = weights !== null && dirname(resolve(weights.path)) === resolve(this.path);
    if (beside && weights.path.endsWith('.onnx')) await rm(weights.path, { force: true });
    await this.removeCheckpoint();
  }

  async removeCheckpoint(): Promise<void> {
    await rm(this.checkpointPath, { force: true });
  }
}

/** A name that sorts by time: `runs/20250131-140509-resnet50-cifar10`. */
export function defaultRunPath(now: Date, backbone: string, data: string): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  const time = `${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
  return join('runs', `${day}-${time}-${backbone}-${data}`);
}

/** A model on disk, and the record of the run that made it if it lies in that run's folder. */
export interface FoundModel {
  readonly path: string;
  readonly record: RunRecord | null;
}

/** Finds what `--model` names: a file, or the folder of a run. */
export async function findModel(given: string | undefined): Promise<FoundModel> {
  if (given === undefined)
    fail('argument', '--model is missing. Expected a model (.keras, .h5, .onnx) or the folder of a run.');
  const stats = statSync(given, { throwIfNoEntry: false });
  if (stats === undefined) {
    fail(
      'argument',
      `--model ${given}: there is no such file. Expected a model (.keras, .h5, .onnx) or the folder of a run.`,
    );
  }
  if (!stats.isDirectory()) {
    const folder = new RunFolder(dirname(given));
    const record = folder.exists ? await folder.read() : null;
    return { path: given, record: record?.model.file === basename(given) ? record : null };
  }
  const folder = new RunFolder(given);
  if (!folder.exists) {
    // A SavedModel, for one, is a folder too.
    const kind = await kindOf(given);
    refuseKind(given, kind, 'a model (.keras, .h5, .onnx) or the folder of a run, which has a run.json');
  }
  const record = await folder.read();
  const path = folder.file(record.model.file);
  if (!existsSync(path)) {
    const why =
      record.status === 'finished'
        ? 'the weights of this run were removed, as a sweep does with all but its best run (--keep-all keeps them)'
        : 'this run has no model yet; it keeps one at the end of its first epoch';
    fail('argument', `--model ${given}: ${why}.`);
  }
  return { path, record };
}

/** Graft's, Node's and ONNX Runtime's versions. */
export function versions(): RunRecord['versions'] {
  return {
    graft: graftVersion,
    node: process.versions.node,
    onnxruntime: findRuntime().version,
    platform: `${process.platform}-${process.arch}`,
  };
}
