/**
 * The folder of a search: a record of its trials, written anew whenever one of them ends, and a folder for each trial,
 * which is an ordinary run. Each file appears whole or not at all.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checked } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { readJson, writeJson } from '../core/files.node.ts';
import type { Trial } from '../search/trials.ts';
import type { TrainConfig } from './config.ts';
import { searchRecord } from './record_schema.ts';
import { RunFolder } from './run_folder.ts';
import { lockRun } from './run_lock.ts';

export type PlannedTrial = Trial & { readonly config: TrainConfig };

export interface SearchRecord {
  readonly format: 1;
  /** The words that all trials have in common: `--data cifar10 --limit 5000`. */
  readonly fixed: readonly string[];
  readonly keepAll: boolean;
  readonly trials: readonly PlannedTrial[];
  /** The name of the best finished trial. */
  readonly best: string | null;
  /** For advice: the load of the machine when measuring began, the highest if that was several times. */
  readonly load?: number;
}

export class SearchFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  get recordPath(): string {
    return join(this.path, 'sweep.json');
  }

  get exists(): boolean {
    return existsSync(this.recordPath);
  }

  trial(name: string): RunFolder {
    return new RunFolder(join(this.path, name));
  }

  /** Keeps other processes from the search. Throws `state` if one of them is at work on it. */
  async lock(): Promise<AsyncDisposable> {
    return lockRun(join(this.path, 'sweep.lock'));
  }

  /** Throws `argument` if this is no folder of a search, `file` if its record is damaged. */
  async read(): Promise<SearchRecord> {
    if (!this.exists) {
      fail('argument', `${this.path} has no sweep.json. Expected a folder that graft sweep made.`);
    }
    return checked(searchRecord, await readJson(this.recordPath), this.recordPath, 'file');
  }

  async write(record: SearchRecord): Promise<void> {
    await writeJson(this.recordPath, record);
  }
}
