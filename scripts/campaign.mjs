// Campaigns try what tests cannot try often enough: many seeded accidents, each of which has to end well.
//
//   npm run campaign -- kills 200 [--seed 1] [--seconds 600]
//
// A campaign is a file in scripts/campaign/. Its default export is told how many cases to try and with which seed, and
// returns `{ tried, survived, lost }`: `lost` describes each case that did not end well, with what tries it again.
// Ends with exit code 1 if anything was lost. `--seconds` ends it earlier; what was tried counts.
import { existsSync, readdirSync } from 'node:fs';
import { parseArgs } from 'node:util';

const folder = new URL('campaign/', import.meta.url);
const known = readdirSync(folder)
  .filter((name) => name.endsWith('.mjs'))
  .map((name) => name.slice(0, -'.mjs'.length));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: 'string', default: '1' }, seconds: { type: 'string' } },
});
const [name, count] = positionals;
const numbers = [count, values.seed, values.seconds ?? 'Infinity'].map(Number);
if (!known.includes(name) || numbers.some(Number.isNaN) || numbers[0] < 1) {
  console.error(`Usage: npm run campaign -- (${known.join(' | ')}) COUNT [--seed N] [--seconds N]`);
  process.exit(2);
}
if (!existsSync(new URL('../dist/cli/main.js', import.meta.url))) {
  console.error('There is no build; run npm run build first.');
  process.exit(2);
}

const [cases, seed, seconds] = numbers;
const start = performance.now();
const { default: campaign } = await import(new URL(`${name}.mjs`, folder).href);
const { tried, survived, lost } = await campaign({
  cases,
  seed,
  /** True when the campaign should begin no further case. */
  isOver: () => performance.now() - start > 1000 * seconds,
  /** Random numbers in [0, 1) of one case, the same in every run with this seed. */
  random: (index) => generator(seed * 0x9e3779b1 + index),
});
for (const line of lost) console.log(`LOST ${line}`);
const minutes = ((performance.now() - start) / 60_000).toFixed(1);
console.log(
  `${name}, seed ${seed}: ${tried} tried, ${survived} survived, ${lost.length} lost (${minutes} minutes).`,
);
if (lost.length > 0 || tried === 0) process.exitCode = 1;

/** Mulberry32. */
function generator(seedOfCase) {
  let state = seedOfCase >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
