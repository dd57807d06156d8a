/** `--class-names`: the names of the classes of a model whose file does not carry them. */
import { fail } from '../core/errors.ts';
import { byteLimits, readRegularFile } from '../core/regular_file.node.ts';
import { decodeText } from '../core/text.ts';

/**
 * Reads a file of one name a line, in the order of the model's outputs, or of lines `0 name`, whose numbers say the
 * order (`labels.txt` of Teachable Machine).
 *
 * @throws `data` if it is not text, `argument` if it names a class twice or leaves one out, or has not `classes` names
 */
export async function readClassNames(path: string, classes: number): Promise<string[]> {
  const bytes = await readRegularFile(path, { limit: byteLimits.list, kind: 'class names' });
  const refuse = (why: string) => fail('argument', `--class-names ${path}: ${why}`);
  const lines = decodeText(bytes, `--class-names ${path}`)
    .trimEnd()
    .split(/\r\n|\n|\r/)
    .map((line) => line.trim());
  const blank = lines.indexOf('');
  if (blank >= 0)
    refuse(blank === 0 ? 'it is empty.' : `line ${blank + 1} is empty; expected a name on each line.`);
  if (lines.length !== classes) {
    refuse(`it has ${lines.length} names, but the model has ${classes} classes; expected one name a line.`);
  }
  const names = inOrder(lines) ?? lines;
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined) refuse(`it names "${twice}" twice; classes need different names.`);
  return names;
}

/** The names of `0 cat`, `1: dog`, if every line has another number of 0 … n − 1; null if they are names alone. */
function inOrder(lines: readonly string[]): string[] | null {
  const names = new Array<string>(lines.length);
  for (const line of lines) {
    const [digits = ''] = /^\d+/.exec(line) ?? [];
    const behind = line.slice(digits.length);
    // One after the other: in one expression two runs of spaces could be divided in any way.
    const text = behind.trimStart();
    const name = /^[:,;.]/.test(text) ? text.slice(1).trimStart() : text;
    const index = Number(digits);
    if (
      digits === '' ||
      behind === name ||
      name === '' ||
      index >= lines.length ||
      names[index] !== undefined
    )
      return null;
    names[index] = name;
  }
  return names;
}
