/** Runs the trials of a search, as many at a time as there is memory for, and keeps the books. */
import { clearLine, tell } from '../core/console.node.ts';
import { fail } from '../core/errors.ts';
import { ranking, remaining, slots } from '../search/trials.ts';
import { progressFor } from '../training/progress.ts';
import { isLive, leaveStatusLine } from '../training/status_line.ts';
import { exitAt, onceMore, type StopSignal, StopSignals } from './interrupt.ts';
import { type Output, percent } from './output.ts';
import type { PlannedTrial, SearchFolder, SearchRecord } from './search_folder.ts';
import { wordsOf } from './search_space.ts';
import {
  epochsDone,
  memoryOf,
  type Outcome,
  outcomeOf,
  type RunningTrial,
  startTrial,
  waitUntilFree,
} from './trial_process.ts';

export interface SearchRequest {
  readonly folder: SearchFolder;
  readonly record: SearchRecord;
  readonly mirror: string | undefined;
  /** The most trials at a time. */
  readonly most: number;
  /** Bytes that a trial takes, by estimate; null to run one alone and see. */
  readonly need: number | null;
  /** What a trial is called when it ends. Its options by default. */
  readonly titleOf?: (trial: PlannedTrial) => string;
  readonly out: Output;
}

export interface SearchEnd {
  readonly record: SearchRecord;
  /** What stopped it before its end, if something did. */
  readonly stoppedBy: StopSignal | null;
}

const lookEveryMs = 1000;

/** Trials that are finished are not run again; one that was killed goes on where it was. */
export async function runTrials(request: SearchRequest): Promise<SearchEnd> {
  const search = new Search(request);
  await search.takeStock();
  await search.run();
  return search.end();
}

class Search {
  readonly #request: SearchRequest;
  readonly #running = new Map<string, RunningTrial>();
  readonly #free = process.availableMemory();
  #record: SearchRecord;
  #need: number | null;
  #stoppedBy: StopSignal | null = null;
  #writing: Promise<void> = Promise.resolve();

  constructor(request: SearchRequest) {
    this.#request = request;
    this.#record = request.record;
    this.#need = request.need;
  }

  end(): SearchEnd {
    return { record: this.#record, stoppedBy: this.#stoppedBy };
  }

  /** A search that was killed knows less than the folders of its trials. */
  async takeStock(): Promise<void> {
    for (const trial of remaining(this.#record.trials)) {
      const run = this.#request.folder.trial(trial.name);
      await waitUntilFree(run);
      this.#note(trial, await outcomeOf(run));
    }
    await this.#write();
  }

  async run(): Promise<void> {
    const waiting = remaining(this.#record.trials);
    const total = waiting.reduce((sum, { config }) => sum + config.epochs, 0);
    const progress = progressFor(this.#request.out.verbose, {
      title: 'Epochs of all trials',
      total,
      unit: 'epoch',
    });
    const names = new Set(waiting.map(({ name }) => name));
    const look = async () => progress.update(await this.#epochsDone(names), {});
    const timer = setInterval(() => void look(), lookEveryMs);
    using _signals = new StopSignals(
      (signal) => this.#stop(signal),
      (signal) => this.#kill(signal),
    );
    try {
      const ends = new Set<Promise<void>>();
      while (ends.size > 0 || (waiting.length > 0 && this.#stoppedBy === null)) {
        while (waiting.length > 0 && this.#stoppedBy === null && ends.size < this.#slots()) {
          const end = this.#runOne(waiting.shift()!).finally(() => ends.delete(end));
          ends.add(end);
        }
        await Promise.race(ends);
      }
    } finally {
      clearInterval(timer);
      for (const trial of this.#running.values()) trial.kill();
    }
    progress.end({});
  }

  #slots(): number {
    const { most } = this.#request;
    return this.#need === null ? 1 : slots({ most, free: this.#free, need: this.#need });
  }

  async #runOne(trial: PlannedTrial): Promise<void> {
    const { folder, mirror } = this.#request;
    const run = folder.trial(trial.name);
    const options = wordsOf(trial.options);
    const command = ['train', ...this.#record.fixed, ...options, '--out', run.path];
    const running = startTrial({ folder: run, config: trial.config, mirror, command });
    this.#running.set(trial.name, running);
    const outcome = await running.ended;
    this.#running.delete(trial.name);
    this.#note(trial, outcome);
    await this.#write();
    if (outcome.result !== null) {
      this.#need = Math.max(this.#need ?? 0, memoryOf(await run.read()));
    }
    this.#say(trial, outcome);
    // What breaks the first trial will most likely break them all.
    const done = this.#record.trials.some(({ status }) => status === 'finished' || status === 'failed');
    if (outcome.status === 'broken' && !done) {
      fail('state', `Trial ${trial.name} ended with an error: ${outcome.problem}`);
    }
  }

  #note({ name }: PlannedTrial, outcome: Outcome): void {
    const trials = this.#record.trials.map((trial) =>
      trial.name === name ? { ...trial, ...outcome } : trial,
    );
    this.#record = { ...this.#record, trials, best: ranking(trials)[0]?.name ?? null };
  }

  /** One after the other: of two trials that end together, the later record has to be the one that stays. */
  async #write(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#writeNow());
    await this.#writing;
  }

  /** First the books, then the weights of all but the best: what a kill leaves is never less than what is written. */
  async #writeNow(): Promise<void> {
    const { folder } = this.#request;
    const { trials, best, keepAll } = this.#record;
    await folder.write(this.#record);
    if (keepAll) return;
    const done = trials.filter(({ status }) => status === 'finished' || status === 'failed');
    for (const { name } of done) {
      if (name !== best) await folder.trial(name).removeModel();
    }
  }

  #say(trial: PlannedTrial, { status, result, problem }: Outcome): void {
    const { out, titleOf = optionsOf } = this.#request;
    if (status === 'waiting') return;
    const best = trial.name === this.#record.best ? ', the best so far' : '';
    const came = result ? `${percent(result.valAccuracy)} (loss ${result.valLoss.toFixed(4)})` : problem;
    // Over the bar, which is drawn anew.
    if (out.verbose && isLive()) clearLine(process.stderr);
    out.say(`${trial.name}  ${titleOf(trial)}: ${came}${best}`);
  }

  /** Of some trials. */
  async #epochsDone(names: ReadonlySet<string>): Promise<number> {
    const trials = this.#record.trials.filter(({ name }) => names.has(name));
    const done = trials.map(({ name, status, config }) => {
      if (status !== 'waiting' && !this.#running.has(name)) return config.epochs;
      return epochsDone(this.#request.folder.trial(name));
    });
    return (await Promise.all(done)).reduce((sum, epochs) => sum + epochs, 0);
  }

  #stop(signal: StopSignal): void {
    this.#stoppedBy = signal;
    for (const trial of this.#running.values()) trial.stop(signal);
    leaveStatusLine();
    tell(process.stderr, `Stopping the trials, which save themselves. ${onceMore}\n`);
  }

  #kill(signal: StopSignal): never {
    for (const trial of this.#running.values()) trial.kill();
    exitAt(signal, 'Stopped at once.');
  }
}

/** `learning-rate=1e-3 optimizer=adam` */
function optionsOf({ options }: PlannedTrial): string {
  const words = Object.entries(options).map(([option, value]) => `${option}=${value}`);
  return words.join(' ');
}
