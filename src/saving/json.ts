/** Reading JSON that is not trusted: equal keys and deep nesting, which JSON.parse lets pass, are errors. */
import { fail, GraftError, messageOf } from '../core/errors.ts';

/** Objects and lists within one another; a model in a model in a model adds about ten each. */
const DEPTH_LIMIT = 200;

/** Parses a text. Throws, saying why, when it is not JSON, nests too deeply or has a key twice. */
export function parseStrictly(text: string): unknown {
  const parsed: unknown = JSON.parse(text);
  checkStructure(text);
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

/** Throws when an object anywhere in a text has one key twice, or nesting is too deep. The text must be valid JSON. */
function checkStructure(json: string): void {
  // One set of keys for each open object, null for each open list.
  const open: (Set<string> | null)[] = [];
  // Strings are matched whole, so that a brace inside one is not taken for structure.
  for (const [token, colon] of json.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}[\]]/g)) {
    if (token === '{' || token === '[') {
      open.push(token === '{' ? new Set() : null);
      if (open.length > DEPTH_LIMIT) throw new Error(`it nests deeper than ${DEPTH_LIMIT}`);
    } else if (token === '}' || token === ']') open.pop();
    else if (colon !== undefined) {
      const key = JSON.parse(token.slice(0, -colon.length)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) throw new Error(`the key "${key}" comes twice`);
      keys?.add(key);
    }
  }
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
