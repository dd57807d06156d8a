/**
 * The CIFAR binary format: files of fixed-size records, each a few label bytes and then 32x32 pixels as
 * planes of red, green and blue. It owns unpacking an archive of them into the cache and reading records from
 * there; which archives there are is in `cifar.node.ts`.
 */
import { createReadStream } from 'node:fs';
import { mkdir, open, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import tar from 'tar-stream';
import { fail, GraftError, messageOf } from '../core/errors.ts';
import { claim, tryRename } from './cache.node.ts';
import { readIfThere } from './verify.node.ts';

export const side = 32;
export const pixels = side * side;

/** A .bin file and how many records it has to hold. */
export interface RecordFile {
  readonly file: string;
  readonly records: number;
}

/** What one archive holds. */
export interface CifarLayout {
  /** Also the beginning of the folder's name in the cache: `cifar10`. */
  readonly name: string;
  /** The label bytes that open a record, in order: the file with the class names, and how many classes. */
  readonly labels: readonly { readonly names: string; readonly classes: number }[];
  readonly train: readonly RecordFile[];
  readonly test: readonly RecordFile[];
}

/** Bytes of one record: the labels, then three planes. */
export function recordBytes(layout: CifarLayout): number {
  return layout.labels.length + 3 * pixels;
}

/** True if a folder holds every file of the layout at its exact size. Cheap: it only asks for sizes. */
export async function isUnpacked(folder: string, layout: CifarLayout): Promise<boolean> {
  try {
    for (const { file, records } of [...layout.train, ...layout.test]) {
      if ((await stat(join(folder, file))).size !== records * recordBytes(layout)) return false;
    }
    for (const { names } of layout.labels) await stat(join(folder, names));
    return true;
  } catch {
    return false;
  }
}

/**
 * Unpacks an archive (.tar.gz) into `folder`, which appears complete or not at all. Sizes, labels and class
 * names are checked on the way.
 *
 * @param onBytes bytes of the archive read so far, and its size
 * @throws `data` when the content is not as the layout says, `file` when the archive is damaged
 */
export async function unpack(
  archive: string,
  folder: string,
  layout: CifarLayout,
  options: {
    readonly onBytes?: (done: number, total: number) => void;
    readonly signal?: AbortSignal | undefined;
  } = {},
): Promise<void> {
  const claimed = await claim(folder);
  const aside = join(claimed.folder, 'data');
  // Half of an archive is no use.
  await rm(aside, { recursive: true, force: true });
  await mkdir(aside);
  try {
    await unpackInto(aside, archive, layout, options);
    if (await tryRename(aside, folder)) return;
    // Something is there: the work of another process, or a damaged folder.
    if (await isUnpacked(folder, layout)) return;
    await rm(folder, { recursive: true, force: true });
    if (!(await tryRename(aside, folder)))
      fail('file', `Could not replace ${folder}. Remove it and try again.`);
  } finally {
    await claimed.remove();
  }
}

async function unpackInto(
  folder: string,
  archive: string,
  layout: CifarLayout,
  options: {
    readonly onBytes?: (done: number, total: number) => void;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<void> {
  const wanted = new Map<string, number | null>(layout.labels.map(({ names }) => [names, null]));
  for (const { file, records } of [...layout.train, ...layout.test]) wanted.set(file, records);
  const { size } = await stat(archive);
  const source = createReadStream(archive, { highWaterMark: 1 << 20, signal: options.signal });
  const entries = tar.extract();
  const flow = pipeline(source, createGunzip({ chunkSize: 1 << 18 }), entries);
  flow.catch(() => {}); // Awaited below; by then it may have failed for our own reason.
  try {
    for await (const entry of entries) {
      const file = basename(entry.header.name);
      const records = wanted.get(file);
      if (records !== undefined && entry.header.type === 'file') {
        wanted.delete(file);
        const check =
          records === null ? null : recordChecker(entry.header.name, records, entry.header.size, layout);
        const target = await open(join(folder, file), 'wx');
        try {
          for await (const part of entry) {
            const chunk = part as Buffer;
            check?.(chunk);
            await target.appendFile(chunk);
            options.onBytes?.(source.bytesRead, size);
          }
        } finally {
          await target.close();
        }
      } else {
        entry.resume();
      }
    }
    await flow;
  } catch (error) {
    if (error instanceof GraftError) throw error;
    options.signal?.throwIfAborted();
    fail('file', `${archive} is damaged or cut off: ${messageOf(error)}. Remove it and try again.`, error);
  }
  if (wanted.size > 0) {
    fail('data', `${archive} is no ${layout.name} archive: it lacks ${[...wanted.keys()].join(', ')}.`);
  }
  for (const label of layout.labels) await readNames(folder, label);
}

/** Checks one file's size at once and its labels as its bytes come by. */
function recordChecker(
  name: string,
  records: number,
  size: number | undefined,
  layout: CifarLayout,
): (chunk: Uint8Array) => void {
  const width = recordBytes(layout);
  if (size !== records * width) {
    fail('data', `${name} has ${size} bytes; ${records} records of ${width} bytes make ${records * width}.`);
  }
  let position = 0;
  return (chunk) => {
    layout.labels.forEach(({ classes }, place) => {
      // The first record whose label byte lies in this chunk or after it.
      const first = Math.max(0, Math.ceil((position - place) / width));
      for (let record = first; record * width + place < position + chunk.length; record++) {
        const label = chunk[record * width + place - position]!;
        if (label >= classes) {
          fail('data', `${name}, record ${record}: label ${label}, but labels go from 0 to ${classes - 1}.`);
        }
      }
    });
    position += chunk.length;
  };
}

/** The class names, one a line. Throws `data` when their number is not that of the classes. */
export async function readNames(folder: string, label: CifarLayout['labels'][number]): Promise<string[]> {
  const text = (await readIfThere(join(folder, label.names))) ?? '';
  const names = text.split('\n').map((line) => line.trim());
  const filled = names.filter((name) => name !== '');
  if (filled.length === label.classes) return filled;
  fail('data', `${label.names} names ${filled.length} classes, ${label.classes} were expected.`);
}
