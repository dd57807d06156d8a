/** What `--grid` means, read with train's own options. */
import { describe, expect, it } from 'vitest';
import { candidatesOf, parseSpace, wordsOf } from '../../src/cli/search_space.ts';

describe('--grid', () => {
  it('lists values, as they are typed, in the order in which they come', () => {
    expect(
      parseSpace(['learning-rate=1e-3,1e-2', '--optimizer=adam, sgd', 'learning-rate=0.1,1e-3']),
    ).toEqual({
      'learning-rate': ['1e-3', '1e-2', '0.1'],
      optimizer: ['adam', 'sgd'],
    });
  });

  it('separates values with commas in them by |', () => {
    const head = ['linear', 'gap,bn,dropout:0.3'];
    expect(parseSpace(['head=linear|gap,bn,dropout:0.3'])).toEqual({ head });
  });

  it('has ranges, of whole numbers where the option counts', () => {
    expect(parseSpace(['learning-rate=1e-4..1e-1', 'batch-size=16..128', 'label-smoothing=0..0.2'])).toEqual({
      'learning-rate': { low: 1e-4, high: 0.1, whole: false },
      'batch-size': { low: 16, high: 128, whole: true },
      'label-smoothing': { low: 0, high: 0.2, whole: false },
    });
  });

  const cases: readonly (readonly [string, readonly string[], string])[] = [
    ['a slip of the pen', ['learnign-rate=1,2'], 'train has no such option. Did you mean learning-rate?'],
    ['an option like no other', ['xyzzy=1,2'], '--grid xyzzy: train has no such option. '],
    ['no values', ['optimizer'], '--grid optimizer: expected OPTION=VALUE,VALUE,… or OPTION=LOW..HIGH.'],
    ['a value that is none', ['optimizer=adam,lion'], "argument 'lion' is invalid. Allowed choices are sgd,"],
    ['a head cut in two', ['head=gap,dropout:0.3'], 'Values that contain commas are separated by |'],
    ['a range that goes down', ['learning-rate=1..0.1'], 'a range goes up, got 1..0.1.'],
    [
      'an end outside',
      ['batch-size=0..8'],
      "argument '0' is invalid. Expected a whole number from 1 to 65536.",
    ],
    [
      'other pictures in each trial',
      ['limit=100,200'],
      'this is the same in all trials, so that they can be compared',
    ],
    ['a range beside values', ['epochs=1,2', 'epochs=3..9'], 'epochs is given twice; a range stands alone.'],
    ['a switch that is half on', ['crop-to-aspect-ratio=maybe'], 'is a switch; expected yes, no.'],
  ];
  it.each(cases)('refuses %s', (_, specs, message) => {
    expect(() => parseSpace(specs)).toThrow(message);
  });
});

describe('candidates', () => {
  const fixed = ['--data', 'cifar10', '--recipe', 'probe', '--epochs', '3'];
  const all = { count: null, seed: 0 };

  it('are what train makes of the words', async () => {
    const space = parseSpace(['learning-rate=1e-3,1e-2', 'optimizer=sgd']);
    const { candidates, refused } = await candidatesOf(space, fixed, all);
    expect(
      candidates.map(({ config: { learningRate, optimizer, epochs } }) => [learningRate, optimizer, epochs]),
    ).toEqual([
      [0.001, 'sgd', 3],
      [0.01, 'sgd', 3],
    ]);
    expect(refused).toEqual([]);
  });

  it('leave out combinations that train refuses, and tell why', async () => {
    const { candidates, refused } = await candidatesOf(
      parseSpace(['optimizer=adam,sgd', 'momentum=0,0.9']),
      fixed,
      all,
    );
    expect(candidates.map(({ options }) => options)).toEqual([
      { optimizer: 'adam', momentum: '0' },
      { optimizer: 'sgd', momentum: '0' },
      { optimizer: 'sgd', momentum: '0.9' },
    ]);
    expect(refused).toEqual([
      {
        options: { optimizer: 'adam', momentum: '0.9' },
        reason: expect.stringContaining('--momentum is for sgd'),
      },
    ]);
    const alone = parseSpace(['momentum=0.5,0.9']);
    await expect(candidatesOf(alone, [...fixed, '--optimizer', 'adam'], all)).rejects.toThrow(
      '--momentum is for sgd',
    );
  });

  it('are all there are where that is fewer than should be drawn', async () => {
    const { candidates } = await candidatesOf(
      parseSpace(['epochs=1..3']),
      ['--data', 'cifar10', '--recipe', 'probe'],
      {
        count: 5,
        seed: 0,
      },
    );
    expect(candidates.map(({ config }) => config.epochs)).toEqual([1, 2, 3]);
  });

  it('of a range need a number of draws', async () => {
    const space = parseSpace(['learning-rate=1e-3..1e-1']);
    await expect(candidatesOf(space, fixed, all)).rejects.toThrow(
      'list some, or draw from it with --random 12.',
    );
    const drawn = await candidatesOf(space, fixed, { count: 4, seed: 1 });
    expect(drawn.candidates).toHaveLength(4);
  });
});

it('a switch becomes a word or none', () => {
  const options = { 'crop-to-aspect-ratio': 'yes', 'pad-to-aspect-ratio': 'no', epochs: '3' };
  expect(wordsOf(options)).toEqual(['--crop-to-aspect-ratio', '--epochs', '3']);
});
