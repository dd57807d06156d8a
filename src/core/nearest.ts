/** What somebody may have meant by a name that does not exist. */

/** The known name nearest to what came, if case, hyphens and a few letters are all that differs. */
export function nearest(text: string, known: readonly string[]): string | null {
  const plain = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, '');
  const came = plain(text);
  const ranked = known
    .map((name) => ({ name, distance: plain(name).startsWith(came) ? 1 : editDistance(came, plain(name)) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && came !== '' && best.distance <= Math.max(1, came.length / 3)
    ? best.name
    : null;
}

/** Alternatives that an error lists; more are not read. */
const mostListed = 10;

/**
 * What was expected in place of a name: the nearest known one; of a few all of them, else where they are listed.
 *
 * @param where a sentence: `graft models lists them.`
 */
export function expectedName(text: string, known: readonly string[], where: string): string {
  const near = nearest(text, known);
  const guess = near === null ? '' : `Did you mean ${near}? `;
  return guess + (known.length <= mostListed ? `Expected ${known.join(', ')}.` : where);
}

/** Letters to insert, drop or replace, and neighbours to swap (optimal string alignment). */
export function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swaps = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swapped = swaps ? before[j - 2]! + 1 : replaced;
      next.push(Math.min(replaced, swapped, row[j]! + 1, next[j - 1]! + 1));
    }
    [before, row] = [row, next];
  }
  return row[b.length]!;
}
