/** The books of a search. */
import { describe, expect, it } from 'vitest';
import { newTrials, ranking, remaining, slots, type Trial } from '../../src/search/trials.ts';

const finished = (name: string, valAccuracy: number, valLoss: number): Trial => ({
  ...{ name, options: {}, status: 'finished', problem: null },
  result: { valAccuracy, valLoss, seconds: 1, epochs: 3, bestEpoch: 2 },
});
const other = (name: string, status: Trial['status']): Trial => ({
  ...{ name, options: {}, status, result: null, problem: null },
});

describe('trials', () => {
  it('are numbered so that names sort', () => {
    expect(newTrials([{ a: '1' }, { a: '2' }]).map(({ name }) => name)).toEqual(['001', '002']);
    const many = newTrials(new Array(1000).fill({}));
    expect([many[0]!.name, many[999]!.name]).toEqual(['0001', '1000']);
  });

  it('are ranked by accuracy, then by loss, then in their order', () => {
    const trials = [
      finished('001', 0.8, 0.7),
      other('002', 'failed'),
      finished('003', 0.9, 0.5),
      finished('004', 0.9, 0.4),
      finished('005', 0.8, 0.7),
      other('006', 'waiting'),
    ];
    expect(ranking(trials).map(({ name }) => name)).toEqual(['004', '003', '001', '005']);
  });

  it('that wait or broke are run when the search goes on; those that failed would fail again', () => {
    const trials = [
      ...[other('001', 'waiting'), other('002', 'failed')],
      ...[other('003', 'broken'), finished('004', 1, 0)],
    ];
    expect(remaining(trials).map(({ name }) => name)).toEqual(['001', '003']);
  });
});

describe('trials at a time', () => {
  it('fill four fifths of the free memory', () => {
    // 0.8·10 / 1.7 = 4.7; nine tenths would make it five.
    expect(slots({ most: 8, free: 10e9, need: 1.7e9 })).toBe(4);
    expect(slots({ most: 3, free: 10e9, need: 1.7e9 })).toBe(3);
  });

  it('are never fewer than one', () => {
    expect(slots({ most: 8, free: 1e9, need: 2e9 })).toBe(1);
  });
});
