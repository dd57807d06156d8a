/** A check that JSON.parse does not make: it takes the last of two equal keys without a word. */

/** Throws when an object anywhere in a text has one key twice. The text must be valid JSON. */
export function checkUniqueKeys(json: string): void {
  // One set of keys for each open object, null for each open list.
  const open: (Set<string> | null)[] = [];
  // Strings are matched whole, so that a brace inside one is not taken for structure.
  for (const [token, colon] of json.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/g)) {
    if (token === '{') open.push(new Set());
    else if (token === '[') open.push(null);
    else if (token === '}' || token === ']') open.pop();
    else if (colon !== undefined) {
      const key = JSON.parse(token.slice(0, -colon.length)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) throw new Error(`the key "${key}" comes twice`);
      keys?.add(key);
    }
  }
}
