/**
 * Measures Graft beside the yardstick: JSON lines, then a table.
 *
 *     npm run bench -- [ROUNDS] [ROW...] [--peer "COMMAND"]...
 *
 * Rows are frozen, int8, conv5, full, scratch and head; each figure is the median of the rounds with lowest and
 * highest. A peer is a command that measures the same row in another framework (`bench/peers/` says how to install
 * and start each); it gets the rounds and the row, and its time stands in the same table.
 */
import { execFile } from 'node:child_process';
import { cpus } from 'node:os';
import { parseArgs, promisify } from 'node:util';
import { printTable, type Row, summarize, type Timing, timed, yardstick } from './measure.ts';
import { frozenRow, fullRow, headRow, integerRow, lastBlockRow, scratchRow } from './rows.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { peer: { type: 'string', multiple: true, default: [] } },
});
const peers = values.peer;
const [given, ...words] = positionals;
const rounds = Number(given ?? 5);
const makers = {
  frozen: frozenRow,
  int8: integerRow,
  conv5: lastBlockRow,
  full: fullRow,
  scratch: scratchRow,
  head: headRow,
};
const unknown = words.filter((word) => !(word in makers));
if (unknown.length > 0 || !(rounds >= 1)) {
  console.error(
    `Expected a number of rounds and rows of ${Object.keys(makers).join(', ')}; got ${positionals.join(' ')}.`,
  );
  process.exit(2);
}
const chosen = Object.entries(makers).filter(([name]) => words.length === 0 || words.includes(name));

const stick = await yardstick();
await stick.run();
console.log(JSON.stringify({ cpu: cpus()[0]!.model, cores: cpus().length, node: process.version, rounds }));
const table: string[][] = [
  [
    'what',
    'ms',
    'images/s',
    'GFLOP/s',
    'of the yardstick',
    'times float32',
    'target',
    ...peers.map(peerName),
  ],
];
for (const [name, make] of chosen) {
  const row = await begin(await make());
  // A machine's speed changes with what its neighbours do: half of the rounds come before the peers, half after.
  await row.measure(Math.ceil(rounds / 2));
  const others = await peerTimes(name);
  await row.measure(Math.floor(rounds / 2));
  table.push([...(await row.end()), ...others]);
}
await stick.close();
printTable(table);

/** Warms a row up; it is measured beside the yardstick then, in turns. */
async function begin(row: Row) {
  await row.run();
  await row.run();
  const times: number[] = [];
  const yard: number[] = [];
  const other: number[] = [];
  return {
    async measure(count: number): Promise<void> {
      for (let round = 0; round < count; round++) {
        yard.push(await timed(() => stick.run()));
        if (row.against) other.push(await timed(() => row.against!()));
        times.push((await timed(() => row.run())) / (row.units ?? 1));
      }
    },
    async end(): Promise<string[]> {
      const memory = row.memory?.();
      await row.close();
      return report(row, { times, yard, other, memory });
    },
  };
}

interface Measured {
  /** Milliseconds of each round: of the row, of the yardstick, and of what the row is put beside. */
  readonly times: readonly number[];
  readonly yard: readonly number[];
  readonly other: readonly number[];
  readonly memory: number | undefined;
}

/** Prints a row's JSON line; answers its cells of the table. */
function report(row: Row, { times, yard, other, memory }: Measured): string[] {
  const own = summarize(times);
  const reach = row.gflop && (row.gflop / own.median) * 1000;
  const stickReach = (stick.gflop / summarize(yard).median) * 1000;
  const ratios =
    row.gflop !== null && summarize(times.map((ms, i) => (row.gflop! / ms) * (yard[i]! / stick.gflop)));
  const faster = row.against && summarize(other.map((ms, i) => ms / times[i]!));
  const result = {
    row: row.name,
    ms: own,
    imagesPerSecond: (row.images / own.median) * 1000,
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
    time(own),
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

/** The name of a peer's script. */
function peerName(command: string): string {
  return /([^/\s]+)\.\w+$/.exec(command)?.[1] ?? command;
}

/** What each peer takes for a row, after its JSON line has been passed on. */
async function peerTimes(row: string): Promise<string[]> {
  const cells: string[] = [];
  for (const peer of peers) {
    const [program, ...args] = peer.split(' ');
    const { stdout } = await promisify(execFile)(program!, [...args, String(rounds), row]);
    const lines = stdout.split('\n').filter((line) => line.startsWith('{"row"'));
    for (const line of lines) console.log(JSON.stringify({ peer: peerName(peer), ...JSON.parse(line) }));
    const result = lines[0] === undefined ? undefined : (JSON.parse(lines[0]) as PeerResult);
    if (result === undefined) cells.push('');
    else cells.push(result.ms ? time(result.ms) : 'cannot');
  }
  return cells;
}

interface PeerResult {
  /** Absent where the peer cannot compute the row. */
  readonly ms?: Timing;
}

function time({ median, low, high }: Timing): string {
  return `${median.toFixed(0)} (${low.toFixed(0)}-${high.toFixed(0)})`;
}
