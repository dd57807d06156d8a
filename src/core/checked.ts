/**
 * Values from outside, checked once at the door: options of public calls, records and configuration from files. Schemas
 * are valibot's and stand beside what they describe; here is how a value that does not fit is told.
 *
 * The message of a schema is what was expected, a noun phrase ("a whole number of at least 1"); the message of a
 * `v.check` or `v.rawCheck` is what is wrong with what came, a predicate ("needs warmupTarget").
 */
import * as v from 'valibot';
import { type ErrorCode, fail } from './errors.ts';
import { nearest } from './nearest.ts';

/**
 * The value as its schema reads it, defaults filled in. Otherwise throws: `model.fit: epochs must be a whole number of
 * at least 1, got 1.5.`
 *
 * @param where the call, the file or whatever else the value belongs to: `model.fit`
 * @param code of the error; `argument` by default
 */
export function checked<S extends v.GenericSchema>(
  schema: S,
  value: unknown,
  where: string,
  code: ErrorCode = 'argument',
): v.InferOutput<S> {
  const result = v.safeParse(schema, value);
  return result.success ? result.output : fail(code, sentenceOf(result.issues[0], where));
}

/** Schemas for every key of an object type: a forgotten key does not compile, nor does one too many. */
export type Entries<T extends object> = {
  readonly [K in keyof Required<T>]: v.GenericSchema<unknown, T[K]>;
};

/**
 * A plain object of these entries and no others; of a key that is not known the nearest known one is named. What is
 * undefined counts as not there.
 */
export function fields<const E extends v.ObjectEntries>(entries: E) {
  const known = Object.keys(entries);
  return v.pipe(
    v.custom<Readonly<Record<string, unknown>>>(isPlain, objectOf(known)),
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      const input = dataset.value;
      for (const key of Object.keys(input)) {
        if (!Object.hasOwn(entries, key)) addIssue({ message: unknownKey(key, known) });
      }
      for (const [key, entry] of Object.entries(entries)) {
        if (input[key] !== undefined || entry.type === 'exact_optional') continue;
        const { issues } = v.safeParse(entry as v.GenericSchema, undefined);
        if (issues) addIssue({ message: `needs ${key}: ${expectationOf(issues[0])}` });
      }
      if (dataset.issues) return NEVER;
      return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined));
    }),
    v.object(entries),
  );
}

function objectOf(known: readonly string[]): string {
  if (known.length === 0) return 'an empty object';
  return `an object of ${known.length > 6 ? `${known.slice(0, 5).join(', ')}, …` : known.join(', ')}`;
}

/** `does not know "epoch"; did you mean epochs?` */
export function unknownKey(key: string, known: readonly string[]): string {
  const camel = key.replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  if (camel !== key && known.includes(camel)) return `does not know "${key}"; it is written ${camel}`;
  const near = nearest(key, known);
  if (near !== null) return `does not know "${key}"; did you mean ${near}?`;
  return known.length === 0
    ? `does not know "${key}"; there is nothing to set`
    : `does not know "${key}"; it knows ${known.join(', ')}`;
}

/** Whether a value is an object with keys and values, as `{ … }` makes it: no array, Map, Date or tensor's data. */
export function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.prototype.toString.call(value) === '[object Object]'
  );
}

/** An entry of `fields` that may be left out, with a default or none. */
export const optional = v.exactOptional;

/** A number that is neither NaN nor infinite. */
export const number = v.custom<number>(Number.isFinite, 'a number');

/** A number above 0. */
export const positive = v.custom<number>((value) => isNumber(value) && value > 0, 'a number above 0');

/** A number of at least 0. */
export const notNegative = v.custom<number>(
  (value) => isNumber(value) && value >= 0,
  'a number of at least 0',
);

/** A number from `low` to `high`, both included. */
export function between(low: number, high: number) {
  return v.custom<number>(
    (value) => isNumber(value) && value >= low && value <= high,
    `a number from ${low} to ${high}`,
  );
}

/** A number from 0 to 1. */
export const share = between(0, 1);

/** A whole number of at least `least`, exact in a double. */
export function wholeNumber(least: number) {
  return v.custom<number>(
    (value) => Number.isSafeInteger(value) && (value as number) >= least,
    least === Number.MIN_SAFE_INTEGER ? 'a whole number' : `a whole number of at least ${least}`,
  );
}

/** What randomness begins with: the generator's key has 32 bits. */
export const seed = v.custom<number>(
  (value) => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff_ffff,
  `a whole number from 0 to ${0xffff_ffff}`,
);

/** A whole number, below 0 too. */
export const whole = v.custom<number>(Number.isSafeInteger, 'a whole number');

/** True or false; nothing that is only truthy. */
export const flag = v.boolean('true or false');

/** Text that is not empty. */
export const text = v.custom<string>((value) => typeof value === 'string' && value !== '', 'text');

/** One of some words; a word that is nearly one of them is told. */
export function oneOf<const W extends string>(...words: readonly W[]) {
  return v.picklist(words, (issue) => {
    const near = typeof issue.input === 'string' && words.length > 1 ? nearest(issue.input, words) : null;
    const listed = words.map((word) => JSON.stringify(word)).join(', ');
    return near === null ? listedOf(listed, words.length) : `${listedOf(listed, words.length)} (${near}?)`;
  });
}

function listedOf(listed: string, count: number): string {
  return count === 1 ? listed : `one of ${listed}`;
}

/** A function of this type, as far as can be seen. */
export function functionOf<F extends (...given: never[]) => unknown>() {
  return v.custom<F>((value) => typeof value === 'function', 'a function');
}

function isNumber(value: unknown): value is number {
  return Number.isFinite(value);
}

type Issue = v.BaseIssue<unknown>;

function sentenceOf(issue: Issue, where: string): string {
  const deepest = innermost(issue);
  const place = pathOf(deepest);
  const subject = place === '' ? where : `${where}: ${place}`;
  if (isPredicate(deepest))
    return `${subject} ${deepest.message}${/[.?!]$/.test(deepest.message) ? '' : '.'}`;
  // valibot expects the key of an entry that an object lacks.
  if (deepest.input === undefined && deepest.expected === JSON.stringify(deepest.path?.at(-1)?.key))
    return `${subject} is missing.`;
  const came = shown(deepest.input);
  const expected = expectationOf(deepest);
  return place === ''
    ? `${where}: expected ${expected}, got ${came}.`
    : `${subject} must be ${expected}, got ${came}.`;
}

function isPredicate({ type }: Issue): boolean {
  return type === 'check' || type === 'raw_check' || type === 'raw_transform';
}

/** Of a union that nothing fits, the branch that came further than its first look, if only one did. */
function innermost(issue: Issue): Issue {
  if (issue.type !== 'union' || issue.issues === undefined) return issue;
  const further = issue.issues.filter((each) => each.path !== undefined || isPredicate(each));
  if (further.length === 0) return issue;
  const inner = innermost(further[0]!);
  const path = [...(issue.path ?? []), ...(inner.path ?? [])] as unknown as NonNullable<Issue['path']>;
  return path.length === 0 ? inner : { ...inner, path };
}

/** What was expected, as a noun phrase. */
function expectationOf(issue: Issue): string {
  if (issue.type === 'union' && issue.issues !== undefined) {
    const parts = [...new Set(issue.issues.map((each) => expectationOf(each)))];
    return parts.length === 1 ? parts[0]! : `${parts.slice(0, -1).join(', ')} or ${parts.at(-1)}`;
  }
  // valibot's own words begin so.
  if (!issue.message.startsWith('Invalid ')) return issue.message;
  const kinds: Readonly<Record<string, string>> = { Object: 'an object', Array: 'a list' };
  return kinds[issue.expected ?? ''] ?? issue.expected ?? 'something else';
}

/** `cache.dir`, `metrics[1]`, `["weird key"]` */
function pathOf({ path }: Issue): string {
  return (path ?? []).reduce((text, { key }) => {
    if (typeof key === 'string' && /^[A-Za-z_$][\w$]*$/.test(key))
      return text === '' ? key : `${text}.${key}`;
    return `${text}[${/^\d+$/.test(String(key)) ? key : JSON.stringify(key)}]`;
  }, '');
}

/** What came, short enough for a sentence. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}…` : value);
  if (typeof value === 'function') return value.name === '' ? 'a function' : `the function ${value.name}`;
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value !== 'object' || value === null) return Object.is(value, -0) ? '0' : String(value);
  if (Array.isArray(value)) {
    return value.length <= 6 && value.every((each) => typeof each !== 'object')
      ? `[${value.map(shown).join(', ')}]`
      : `an array of ${value.length}`;
  }
  if ('dtype' in value && 'shape' in value && Array.isArray(value.shape)) {
    return `a tensor of ${value.dtype} [${value.shape.join(', ')}]`;
  }
  const name = (Object.getPrototypeOf(value) as { constructor?: { name?: string } } | null)?.constructor
    ?.name;
  if (name !== undefined && name !== 'Object' && name !== '')
    return `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`;
  const keys = Object.keys(value);
  if (keys.length === 0) return '{}';
  return `an object of ${keys.slice(0, 4).join(', ')}${keys.length > 4 ? ', …' : ''}`;
}
