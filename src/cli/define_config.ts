/** The types of a config file: for each command the options that it has, by their names in camelCase. */
import type { AdviseOptions } from './advise.ts';
import type { CommonOptions } from './arguments.ts';
import type { PruneCommandOptions } from './cache.ts';
import type { CompareOptions } from './compare.ts';
import type { DataOptions } from './data_command.ts';
import type { DoctorOptions } from './doctor.ts';
import type { EvaluateOptions } from './evaluate.ts';
import type { ExplainOptions } from './explain.ts';
import type { ExportCommandOptions } from './export.ts';
import type { InspectOptions } from './inspect.ts';
import type { LrFindCommandOptions } from './lr_find.ts';
import type { PredictOptions } from './predict.ts';
import type { ReportOptions } from './run_report.ts';
import type { StartOptions } from './start.ts';
import type { SummaryCommandOptions } from './summary.ts';
import type { SweepOptions } from './sweep.ts';
import type { TrainOptions } from './train_options.ts';

/** Options as a config file says them. `--resume` belongs to one run, so it stays on the command line. */
export type Settings<Options> = {
  readonly [Name in keyof Options as Name extends 'resume' ? never : Name]?: Setting<Name, Options[Name]>;
};

/** They are written as they are typed: `20GB`, `96,160`, `30m`, `learning-rate=1e-3,1e-2`. */
type Typed = 'cacheLimit' | 'sizes' | 'time' | 'grid';

/** A flag may be false too. */
type Setting<Name, Value> =
  Exclude<Value, undefined> extends true ? boolean : Name extends Typed ? string : Value;

/** Defaults of the options of each command; the command line wins over them. */
export interface GraftConfig {
  readonly start?: Settings<StartOptions>;
  readonly data?: Settings<DataOptions>;
  readonly train?: Settings<TrainOptions>;
  readonly 'lr-find'?: Settings<LrFindCommandOptions>;
  readonly evaluate?: Settings<EvaluateOptions>;
  readonly predict?: Settings<PredictOptions>;
  readonly explain?: Settings<ExplainOptions>;
  readonly export?: Settings<ExportCommandOptions>;
  readonly report?: Settings<ReportOptions>;
  readonly compare?: Settings<CompareOptions>;
  readonly sweep?: Settings<SweepOptions>;
  readonly advise?: Settings<AdviseOptions>;
  readonly summary?: Settings<SummaryCommandOptions>;
  readonly models?: Settings<CommonOptions>;
  readonly inspect?: Settings<InspectOptions>;
  readonly cache?: {
    readonly list?: Settings<CommonOptions>;
    readonly verify?: Settings<CommonOptions>;
    readonly prune?: Settings<PruneCommandOptions>;
  };
  readonly doctor?: Settings<DoctorOptions>;
}

/**
 * What `graft.config.ts` exports, checked by its types: `export default defineConfig({ train: { optimizer: 'adam' } })`.
 * It returns what it is given.
 */
export function defineConfig(config: GraftConfig): GraftConfig {
  return config;
}
