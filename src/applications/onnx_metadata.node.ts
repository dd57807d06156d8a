/**
 * What is written about the pictures that an ONNX model wants: in its own metadata, or in a file beside it
 * (`preprocessor_config.json` of Hugging Face, `config.json` of timm).
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { fail } from '../core/errors.ts';
import { readJson } from '../core/files.node.ts';
import { parseJson } from '../core/json.ts';
import type { ImageInput } from '../onnx/inspect.ts';
import type { ModelProto } from '../onnx/proto.ts';
import { isMeanAndStd, type Normalization } from './normalization.ts';

export interface PictureNotes {
  readonly normalization: Normalization | null;
  /** Height and width. */
  readonly size: readonly [number, number] | null;
  /** Where that is written; `null` if it is nowhere. */
  readonly source: string | null;
}

const nothing: PictureNotes = { normalization: null, size: null, source: null };

/** Looks into the metadata, then beside the model, then one folder up, as Hugging Face lays exports out. */
export async function pictureNotes(
  path: string,
  model: ModelProto,
  { bytes }: ImageInput,
): Promise<PictureNotes> {
  const normalization = 'none';
  if (model.metadataProps.some(({ key }) => key === 'graft.preprocessing'))
    return { normalization, size: null, source: 'Graft wrote the file, its preprocessing inside' };
  if (bytes) return { normalization, size: null, source: 'its input takes bytes' };
  const metadata = fromMetadata(model.metadataProps);
  if (metadata !== null) return { normalization: metadata, size: null, source: "the file's metadata" };
  const folder = dirname(path);
  for (const name of ['preprocessor_config.json', 'config.json']) {
    for (const candidate of [join(folder, name), join(folder, '..', name)]) {
      if (!existsSync(candidate)) continue;
      const notes = fromConfig(await readJson(candidate));
      if (notes.normalization !== null) return { ...notes, source: candidate };
    }
  }
  return nothing;
}

/** The names of the classes in a file that Graft exported; null if it has none. */
export function classNamesOf({ metadataProps }: ModelProto): readonly string[] | null {
  const text = metadataProps.find(({ key }) => key === 'graft.classNames')?.value;
  if (text === undefined) return null;
  const names = parseJson(text, 'graft.classNames in its metadata');
  const isName = (name: unknown) => typeof name === 'string';
  return Array.isArray(names) && names.every(isName)
    ? (names as string[])
    : fail('file', 'graft.classNames in its metadata is no list of names.');
}

/** `mean` and `std` with three numbers each, as entries of their own or inside a text. */
function fromMetadata(entries: ModelProto['metadataProps']): Normalization | null {
  const text = entries.map(({ key, value }) => `${key}: ${value}`).join('\n');
  return meanAndStd(numbersAfter(text, /\b(?:image_)?mean\b/gi), numbersAfter(text, /\b(?:image_)?std\b/gi));
}

/** Everything in it is bounded: descriptions have any length, and a search must not start anew at each of their words. */
const threeNumbers = /^[^\d\n-]{0,64}((?:-?[\d.]{1,24}[,;\s\]]{1,16}){2}-?[\d.]{1,24})/;

/** Three numbers behind a word. */
function numbersAfter(text: string, word: RegExp): number[] | null {
  for (const { 0: found, index } of text.matchAll(word)) {
    const behind = text.slice(index + found.length, index + found.length + 256);
    const numbers = threeNumbers.exec(behind)?.[1];
    if (numbers !== undefined) return numbers.split(/[^\d.-]+/).map(Number);
  }
  return null;
}

/** Some write them for values of 0 to 255. */
function meanAndStd(mean: unknown, std: unknown): Normalization | null {
  if (!Array.isArray(mean) || !Array.isArray(std)) return null;
  const scale = mean.some((value) => value > 1) ? 1 / 255 : 1;
  const scaled = (list: readonly unknown[]) => list.map((value) => Number(value) * scale);
  const found = { mean: scaled(mean), std: scaled(std) };
  return isMeanAndStd(found) ? found : null;
}

/** A field that is of another kind than the one that is read counts as not there: such files hold much else. */
const field = <S extends v.GenericSchema>(schema: S) => v.fallback(v.optional(schema), undefined as never);

const anySize = v.record(v.string(), v.unknown());

const fields = {
  // Hugging Face.
  image_mean: field(v.unknown()),
  image_std: field(v.unknown()),
  do_normalize: field(v.boolean()),
  do_rescale: field(v.boolean()),
  size: field(v.union([v.number(), anySize])),
  crop_size: field(v.union([v.number(), anySize])),
  // timm.
  mean: field(v.unknown()),
  std: field(v.unknown()),
  input_size: field(v.array(v.number())),
};

const pictureConfig = v.object({ ...fields, pretrained_cfg: field(v.object(fields)) });

function fromConfig(json: unknown): Omit<PictureNotes, 'source'> {
  const read = v.safeParse(pictureConfig, json);
  if (!read.success) return nothing;
  const config = read.output.pretrained_cfg ?? read.output;
  const [, height, width] = config.input_size ?? [];
  const timmSize = pair(height, width);
  if (config.mean !== undefined)
    return { normalization: meanAndStd(config.mean, config.std), size: timmSize };
  if (config.image_mean === undefined && config.do_rescale === undefined) return nothing;
  const size = sizeIn(config.crop_size) ?? sizeIn(config.size);
  if (config.do_rescale === false) return { normalization: 'none', size };
  if (config.do_normalize === false) return { normalization: 'unit', size };
  return { normalization: meanAndStd(config.image_mean, config.image_std), size };
}

/** A number, `{ height, width }` or `{ shortest_edge }`. */
function sizeIn(size: unknown): readonly [number, number] | null {
  if (typeof size !== 'object' || size === null) return pair(size, size);
  const { height, width, shortest_edge } = size as Readonly<Record<string, unknown>>;
  return pair(height, width) ?? pair(shortest_edge, shortest_edge);
}

/** Sides of images that a model may want. */
function pair(height: unknown, width: unknown): readonly [number, number] | null {
  const isSide = (side: unknown) => Number.isInteger(side) && Number(side) >= 1 && Number(side) <= 16_384;
  return isSide(height) && isSide(width) ? [Number(height), Number(width)] : null;
}
