/** Reading JSON that is not trusted: equal keys and deep nesting, which JSON.parse lets pass, are errors. */
import { fail, GraftError, messageOf } from './errors.ts';

/** Objects and lists within one another; a model in a model in a model adds about ten each. */
const DEPTH_LIMIT = 200;

/** Parses a text. Throws, saying why, when it is not JSON, nests too deeply or has a key twice. */
export function parseStrictly(text: string): unknown {
  // Whoever walks through values recurses, and indents grow with the depth: 69 kB of brackets became 2.7 GB.
  checkDepth(text);
  const parsed: unknown = JSON.parse(text);
  checkKeys(text);
  return parsed;
}

/** The same; throws `file`, naming `source`. */
export function parseJson(text: string, source: string): unknown {
  try {
    return parseStrictly(text);
  } catch (error) {
    return fail('file', `${source} is not valid JSON: ${messageOf(error)}.`, error);
  }
}

const [quote, backslash, colon] = [0x22, 0x5c, 0x3a];
const [openList, closeList, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d];

/** Where the string ends that begins at a quote: the place behind its last quote, or the end of the text. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length) {
    const code = text.charCodeAt(i);
    if (code === quote) return i + 1;
    i += code === backslash ? 2 : 1;
  }
  return text.length;
}

/** Throws where brackets are within one another more than `DEPTH_LIMIT` times; any text will do. */
function checkDepth(text: string): void {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === quote) i = endOfString(text, i) - 1;
    else if (code === openList || code === openObject) {
      if (++depth > DEPTH_LIMIT) throw new Error(`it nests deeper than ${DEPTH_LIMIT}`);
    } else if (code === closeList || code === closeObject) depth--;
  }
}

/** Throws where an object has one key twice. The text must be valid JSON. */
function checkKeys(json: string): void {
  // One set of keys for each open object, null for each open list.
  const open: (Set<string> | null)[] = [];
  for (let i = 0; i < json.length; i++) {
    const code = json.charCodeAt(i);
    if (code === openObject) open.push(new Set());
    else if (code === openList) open.push(null);
    else if (code === closeList || code === closeObject) open.pop();
    else if (code === quote) {
      const end = endOfString(json, i);
      let next = end;
      while (isSpace(json.charCodeAt(next))) next++;
      if (json.charCodeAt(next) === colon) {
        const text = json.slice(i, end);
        // Only where it is escaped does a key differ from what stands there.
        const key = text.includes('\\') ? (JSON.parse(text) as string) : text.slice(1, -1);
        const keys = open.at(-1)!;
        if (keys!.has(key)) throw new Error(`the key "${key}" comes twice`);
        keys!.add(key);
      }
      i = next - 1;
    }
  }
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

/**
 * Runs what makes objects of a description in a file. Where it meets a value of a kind that it did not expect, the
 * description is at fault: throws `file`. Every error names `source`.
 */
export function interpret<T>(source: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof GraftError) {
      if (error.message.includes(source)) throw error;
      return fail(error.code, `${source}: ${error.message}`, error);
    }
    return fail(
      'file',
      `${source} does not describe what Keras describes there: ${messageOf(error)}.`,
      error,
    );
  }
}
