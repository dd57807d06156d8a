/** Options as they were typed. */
import { Command } from 'commander';
import { expect, it } from 'vitest';
import { typedWords } from '../../src/cli/typed_words.ts';

it('are texts, switches and options with and without their value, in the order of the command', () => {
  const command = new Command()
    .option('--rate <x>', 'a number', Number)
    .option('--seed <n>', 'has a default', Number, 7)
    .option('--ema [momentum]', 'its value may be left out', Number)
    .option('--view [n]', 'the same', Number)
    .option('--fast', 'a switch')
    .option('--slow', 'another switch')
    .option('--own <x>', 'no business of others');
  const words = typedWords(command, new Set(['--own']));
  command.parse(['--own', '3', '--fast', '--rate=1e-3', '--ema', '--view', '0.50'], { from: 'user' });
  expect(command.opts()).toMatchObject({ rate: 0.001, seed: 7, ema: true, view: 0.5 });
  expect(words()).toEqual(['--rate', '1e-3', '--ema', '--view', '0.50', '--fast']);
});
