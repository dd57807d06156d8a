import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import {
  checked,
  type Entries,
  fields,
  flag,
  notNegative,
  oneOf,
  optional,
  positive,
  text,
  wholeNumber,
} from '../../src/core/checked.ts';
import { GraftError } from '../../src/core/errors.ts';

interface Options {
  readonly units: number;
  readonly batchSize?: number;
  readonly rate?: number | 'auto';
  readonly verbose?: boolean;
  readonly cache?: { readonly dir?: string; readonly mode?: 'memory' | 'disk' };
  readonly names?: readonly string[];
}

const options = fields({
  units: wholeNumber(1),
  batchSize: optional(wholeNumber(1), 32),
  rate: optional(v.union([positive, v.literal('auto', '"auto"')])),
  verbose: optional(flag),
  cache: optional(fields({ dir: optional(text), mode: optional(oneOf('memory', 'disk')) })),
  names: optional(v.array(text, 'an array')),
} satisfies Entries<Options>);

function messageOf(value: unknown): string {
  try {
    checked(options, value, 'model.fit');
  } catch (error) {
    expect(error).toBeInstanceOf(GraftError);
    expect((error as GraftError).code).toBe('argument');
    return (error as GraftError).message;
  }
  return 'no error';
}

describe('checked', () => {
  it('fills defaults in and takes what is undefined as not there', () => {
    const read: Options = checked(options, { units: 4, batchSize: undefined, verbose: undefined }, 'here');
    expect(read).toStrictEqual({ units: 4, batchSize: 32 });
  });

  it.each([
    [{ units: 1.5 }, 'model.fit: units must be a whole number of at least 1, got 1.5.'],
    [{ units: '8' }, 'model.fit: units must be a whole number of at least 1, got "8".'],
    [{ units: Number.NaN }, 'model.fit: units must be a whole number of at least 1, got NaN.'],
    [{ units: null }, 'model.fit: units must be a whole number of at least 1, got null.'],
    [{}, 'model.fit needs units: a whole number of at least 1.'],
    [{ units: 1, verbose: 1 }, 'model.fit: verbose must be true or false, got 1.'],
    [{ units: 1, rate: 'car' }, 'model.fit: rate must be a number above 0 or "auto", got "car".'],
    [{ units: 1, rate: new Map() }, 'model.fit: rate must be a number above 0 or "auto", got a Map.'],
    [{ units: 1, names: ['a', ''] }, 'model.fit: names[1] must be text, got "".'],
    [
      { units: 1, cache: { mode: 'dsk' } },
      'model.fit: cache.mode must be one of "memory", "disk" (disk?), got "dsk".',
    ],
    [8, 'model.fit: expected an object of units, batchSize, rate, verbose, cache, names, got 8.'],
    [new Map(), 'model.fit: expected an object of units, batchSize, rate, verbose, cache, names, got a Map.'],
    [[], 'model.fit: expected an object of units, batchSize, rate, verbose, cache, names, got [].'],
  ])('says what was expected and what came: %j', (value, message) => {
    expect(messageOf(value)).toBe(message);
  });

  it.each([
    ['batch_size', 'model.fit does not know "batch_size"; it is written batchSize.'],
    ['batchsize', 'model.fit does not know "batchsize"; did you mean batchSize?'],
    ['unist', 'model.fit does not know "unist"; did you mean units?'],
    ['workers', 'model.fit does not know "workers"; it knows units, batchSize, rate, verbose, cache, names.'],
    [
      'constructor',
      'model.fit does not know "constructor"; it knows units, batchSize, rate, verbose, cache, names.',
    ],
  ])('names the known key nearest to %s', (key, message) => {
    expect(messageOf({ units: 1, [key]: 1 })).toBe(message);
    expect(messageOf({ units: 1, cache: { folder: 1 } })).toBe(
      'model.fit: cache does not know "folder"; it knows dir, mode.',
    );
  });

  it('gives errors about files another code', () => {
    const read = () => checked(fields({ epoch: notNegative }), { epoch: -1 }, 'runs/a/run.json', 'file');
    expect(read).toThrow(
      new GraftError('file', 'runs/a/run.json: epoch must be a number of at least 0, got -1.'),
    );
    expect(read).toThrow(expect.objectContaining({ code: 'file' }));
  });

  it('says which entry of a record is missing', () => {
    const record = v.object({ size: v.object({ height: wholeNumber(1), width: wholeNumber(1) }) });
    const read = (value: unknown) => () => checked(record, value, 'run.json', 'file');
    expect(read({})).toThrow('run.json: size is missing.');
    expect(read({ size: { height: 1 } })).toThrow('run.json: size.width is missing.');
    // A text that looks like the name of the missing entry, but is a value that came.
    expect(read({ size: 'size' })).toThrow('run.json: size must be an object, got "size".');
  });

  it('takes predicates of checks across fields as they are', () => {
    const pair = v.pipe(
      fields({ low: wholeNumber(0), high: wholeNumber(0) }),
      v.check(({ low, high }) => low <= high, 'needs low to be at most high'),
    );
    expect(() => checked(pair, { low: 2, high: 1 }, 'range')).toThrow('range needs low to be at most high.');
  });
});
