// Ways to damage a file. Each takes random numbers in [0, 1) and says in a word what it did.

const pick = (random, list) => list[Math.floor(random() * list.length)];
const below = (random, end) => Math.floor(random() * end);

/** What may stand in JSON where something else was expected. */
export const values = [
  null,
  true,
  false,
  0,
  -1,
  0.5,
  1e308,
  -1e308,
  2 ** 53,
  4294967296,
  '',
  'x',
  '0',
  '../../../etc/passwd',
  '/dev/zero',
  '"><script>document.title="ran"</script><img src=x onerror="document.title=1">',
  '\u0000\u001b]0;title\u0007\u202e',
  'constructor',
  '__proto__',
  'y'.repeat(5000),
  [],
  {},
  [null],
  [[[]]],
  ['x'],
  [-1, 0.5, 1e300],
  { x: 1 },
  { length: 1e9 },
  { class_name: 'Lambda', config: {} },
];

/** Every place in a value: the container and the key. */
export function placesIn(value, places = []) {
  if (typeof value !== 'object' || value === null) return places;
  for (const key of Object.keys(value)) {
    places.push([value, key]);
    placesIn(value[key], places);
  }
  return places;
}

/** Replaces, removes, exchanges or adds something somewhere in JSON. */
export function mutateJson(text, random) {
  const json = JSON.parse(text);
  const places = placesIn(json);
  const [container, key] = pick(random, places);
  switch (below(random, 12)) {
    case 0:
      if (Array.isArray(container)) container.splice(Number(key), 1);
      else delete container[key];
      return [JSON.stringify(json), `without ${key}`];
    case 1: {
      const [other, otherKey] = pick(random, places);
      container[key] = structuredClone(other[otherKey]);
      return [JSON.stringify(json), `${key} from ${otherKey}`];
    }
    case 2: {
      const [open, close] = pick(random, [
        ['[', ']'],
        ['{"a":[', ']}'],
      ]);
      const depth = 2 + below(random, 50_000);
      container[key] = '@here';
      const nested = open.repeat(depth) + close.repeat(depth);
      return [JSON.stringify(json).replace('"@here"', nested), `${key} nests ${depth} deep`];
    }
    case 3:
      if (typeof container[key] === 'number') {
        container[key] *= pick(random, [-1, 1e3, 1e9, 1e-9, 0.5]);
        return [JSON.stringify(json), `another ${key}`];
      }
      return [damage(Buffer.from(text), random)[0], 'bytes'];
    default: {
      const value = pick(random, values);
      container[key] = value;
      return [JSON.stringify(json), `${key} = ${JSON.stringify(value).slice(0, 40)}`];
    }
  }
}

const numbers = [0n, 1n, 0x7fffffffn, 0x80000000n, 0xffffffffn, 2n ** 53n, 2n ** 62n, 2n ** 64n - 1n];

/** Changes some bytes. */
export function damage(bytes, random) {
  const at = below(random, bytes.length);
  const length = Math.min(bytes.length - at, 1 + below(random, pick(random, [4, 64, 4096])));
  const copy = Buffer.from(bytes);
  const random8 = () => below(random, 256);
  switch (below(random, 9)) {
    case 0:
      for (let i = 0; i < 1 + below(random, 16); i++)
        copy[below(random, copy.length)] ^= 1 << below(random, 8);
      return [copy, 'bits flipped'];
    case 1:
      for (let i = at; i < at + length; i++) copy[i] = random8();
      return [copy, `${length} bytes at random from ${at}`];
    case 2:
      return [
        copy.fill(pick(random, [0, 0xff, 0x20, 0x5b]), at, at + length),
        `${length} bytes the same at ${at}`,
      ];
    case 3:
      return [copy.subarray(0, at), `cut at ${at}`];
    case 4:
      return [Buffer.concat([copy, Buffer.alloc(1 + below(random, 1000), random8())]), 'longer'];
    case 5:
      return [
        Buffer.concat([copy.subarray(0, at), copy.subarray(at + length)]),
        `${length} bytes missing at ${at}`,
      ];
    case 6:
      return [
        Buffer.concat([copy.subarray(0, at + length), copy.subarray(at)]),
        `${length} bytes twice at ${at}`,
      ];
    case 7: {
      const number = pick(random, numbers);
      if (at + 8 > copy.length) return [copy.subarray(0, at), `cut at ${at}`];
      if (random() < 0.5) copy.writeBigUInt64LE(number, at);
      else copy.writeUInt32LE(Number(number & 0xffffffffn), at);
      return [copy, `${number} at ${at}`];
    }
    default: {
      const from = below(random, bytes.length);
      copy.set(bytes.subarray(from, Math.min(from + length, bytes.length)).subarray(0, length), at);
      return [copy, `bytes from ${from} at ${at}`];
    }
  }
}

/** The beginning of files says how the rest is read, so half of the damage goes there. */
export function damageStart(bytes, random) {
  if (random() < 0.5) return damage(bytes, random);
  const start = Math.min(bytes.length, 4096);
  const [head, what] = damage(bytes.subarray(0, start), random);
  return [Buffer.concat([head, bytes.subarray(start)]), `in front: ${what}`];
}

/** Changes a JSON header that stands behind its length, as in safetensors. */
export function mutateHeader(bytes, random) {
  const length = Number(bytes.readBigUInt64LE(0));
  const [json, what] = mutateJson(bytes.subarray(8, 8 + length).toString(), random);
  const header = Buffer.from(json);
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(BigInt(header.length));
  return [Buffer.concat([start, header, bytes.subarray(8 + length)]), `header: ${what}`];
}

const cells = [
  '',
  ',',
  '"',
  '""',
  '\0',
  '1e999',
  'NaN',
  '-1',
  'epoch',
  '\uFEFF',
  '\r',
  '\n\n\n',
  ';',
  '../x.png',
  '/dev/zero',
  "=cmd|'/c calc'!A0",
];

/** Changes lines and cells of a table. */
export function mutateTable(text, random) {
  const lines = text.split('\n');
  const at = below(random, lines.length);
  switch (below(random, 5)) {
    case 0:
      lines.splice(at, 1);
      return [lines.join('\n'), `without line ${at}`];
    case 1:
      lines.splice(at, 0, pick(random, lines));
      return [lines.join('\n'), `another line at ${at}`];
    case 2:
      return damage(Buffer.from(text), random);
    default: {
      const parts = lines[at].split(',');
      parts[below(random, parts.length)] = pick(random, cells);
      lines[at] = parts.join(',');
      return [lines.join('\n'), `another cell in line ${at}`];
    }
  }
}
