/** Callbacks that write the numbers of each epoch into a file. */
import { appendFile, readFile } from 'node:fs/promises';
import { checked, type Entries, fields, flag, optional, text } from '../core/checked.ts';
import { writeAtomically } from '../core/files.node.ts';
import type { Callback } from './callback.ts';

/** Options of `csvLogger`. */
export interface CSVLoggerOptions {
  /** Defaults to a comma. */
  readonly separator?: string;
  /** Keeps the rows of an earlier file, as when training continues. */
  readonly append?: boolean;
}

const csvLoggerOptions = fields({
  separator: optional(text, ','),
  append: optional(flag, false),
} satisfies Entries<CSVLoggerOptions>);

const jsonLoggerOptions = fields({
  append: optional(flag, false),
} satisfies Entries<Pick<CSVLoggerOptions, 'append'>>);

/** Writes a row for each epoch (keras.callbacks.CSVLogger); the first column is `epoch`, from 0. */
export function csvLogger(path: string, options: CSVLoggerOptions = {}): Callback {
  checked(text, path, 'callbacks.csvLogger(path)');
  const { separator, append } = checked(csvLoggerOptions, options, 'callbacks.csvLogger');
  let keys: string[] | null = null;
  return {
    name: 'csvLogger',
    async onTrainBegin() {
      const before = append ? await readFile(path, 'utf8').catch(missingIsEmpty) : '';
      const header = before.split('\n')[0];
      keys = header ? header.split(separator).slice(1) : null;
      if (!append) await writeAtomically(path, '');
    },
    async onEpochEnd(epoch, logs) {
      if (keys === null) {
        keys = Object.keys(logs);
        await writeAtomically(path, `${['epoch', ...keys].join(separator)}\n`);
      }
      const row = [epoch, ...keys.map((key) => logs[key] ?? 'NA')];
      await appendFile(path, `${row.join(separator)}\n`);
    },
  };
}

/** Writes a line of JSON for each epoch: `{"epoch":0,"loss":1.5}`, epochs from 0. What is no number becomes null. */
export function jsonLogger(path: string, options: Pick<CSVLoggerOptions, 'append'> = {}): Callback {
  checked(text, path, 'callbacks.jsonLogger(path)');
  const { append } = checked(jsonLoggerOptions, options, 'callbacks.jsonLogger');
  return {
    name: 'jsonLogger',
    async onTrainBegin() {
      if (!append) await writeAtomically(path, '');
    },
    async onEpochEnd(epoch, logs) {
      await appendFile(path, `${JSON.stringify({ epoch, ...logs })}\n`);
      return undefined;
    },
  };
}

function missingIsEmpty(error: NodeJS.ErrnoException): string {
  if (error.code === 'ENOENT') return '';
  throw error;
}
