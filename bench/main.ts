/**
 * Measures Graft beside the yardstick: JSON lines, then a table. `npm run bench -- [ROUNDS] [NAME...]` measures the
 * rows whose names contain one of the words; each figure is the median of the rounds with lowest and highest.
 */
import { cpus } from 'node:os';
import { type Row, summarize, type Timing, timed, yardstick } from './measure.ts';
import { frozenRow, fullRow, headRow, integerRow, lastBlockRow, scratchRow } from './rows.ts';

const [given, ...words] = process.argv.slice(2);
const rounds = Number(given ?? 5);
const makers = {
  frozen: frozenRow,
  int8: integerRow,
  conv5: lastBlockRow,
  full: fullRow,
  scratch: scratchRow,
  head: headRow,
};
const chosen = Object.entries(makers).filter(([name]) => words.length === 0 || words.includes(name));

const stick = await yardstick();
await stick.run();
console.log(JSON.stringify({ cpu: cpus()[0]!.model, cores: cpus().length, node: process.version, rounds }));
const table: string[][] = [
  ['what', 'ms', 'images/s', 'GFLOP/s', 'of the yardstick', 'times float32', 'target'],
];
for (const [, make] of chosen) table.push(await measure(await make()));
await stick.close();
const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
for (const row of table) console.log(row.map((cell, i) => cell.padEnd(widths[i]!)).join('  '));

async function measure(row: Row): Promise<string[]> {
  await row.run();
  await row.run();
  const own: number[] = [];
  const yard: number[] = [];
  const other: number[] = [];
  for (let round = 0; round < rounds; round++) {
    yard.push(await timed(() => stick.run()));
    if (row.against) other.push(await timed(() => row.against!()));
    own.push(await timed(() => row.run()));
  }
  const memory = await row.memory?.();
  await row.close();
  const time = summarize(own);
  const reach = row.gflop && (row.gflop / time.median) * 1000;
  const stickReach = (stick.gflop / summarize(yard).median) * 1000;
  const ratios =
    row.gflop !== null && summarize(own.map((ms, i) => (row.gflop! / ms) * (yard[i]! / stick.gflop)));
  const faster = row.against && summarize(other.map((ms, i) => ms / own[i]!));
  const result = {
    row: row.name,
    ms: time,
    imagesPerSecond: (row.images / time.median) * 1000,
    gflops: reach,
    yardstick: stickReach,
    ratio: ratios,
    timesFloat32: faster,
    peakMB: memory,
    target: row.target,
  };
  console.log(JSON.stringify(result));
  return [
    row.name + (memory === undefined ? '' : ` (peak ${(memory / 1024).toFixed(1)} GB)`),
    `${time.median.toFixed(0)} (${time.low.toFixed(0)}-${time.high.toFixed(0)})`,
    result.imagesPerSecond.toFixed(1),
    reach ? reach.toFixed(0) : '',
    spread(ratios),
    spread(faster),
    row.target,
  ];
}

function spread(timing: Timing | false | undefined): string {
  return timing ? `${timing.median.toFixed(2)} (${timing.low.toFixed(2)}-${timing.high.toFixed(2)})` : '';
}
