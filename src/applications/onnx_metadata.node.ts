/**
 * What is written about the pictures that an ONNX model wants: in its own metadata, or in a file beside it
 * (`preprocessor_config.json` of Hugging Face, `config.json` of timm).
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
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
  const three = (word: string) =>
    new RegExp(`\\b${word}\\b[^\\d\\n-]*((?:-?[\\d.]+[,;\\s\\]]+){2}-?[\\d.]+)`, 'i')
      .exec(text)?.[1]
      ?.split(/[^\d.-]+/)
      .map(Number);
  return meanAndStd(three('(?:image_)?mean'), three('(?:image_)?std'));
}

/** Some write them for values of 0 to 255. */
function meanAndStd(mean: unknown, std: unknown): Normalization | null {
  if (!Array.isArray(mean) || !Array.isArray(std)) return null;
  const scale = mean.some((value) => value > 1) ? 1 / 255 : 1;
  const scaled = (list: readonly unknown[]) => list.map((value) => Number(value) * scale);
  const found = { mean: scaled(mean), std: scaled(std) };
  return isMeanAndStd(found) ? found : null;
}

interface PictureConfig {
  // Hugging Face.
  readonly image_mean?: unknown;
  readonly image_std?: unknown;
  readonly do_normalize?: boolean;
  readonly do_rescale?: boolean;
  readonly size?: unknown;
  readonly crop_size?: unknown;
  // timm.
  readonly pretrained_cfg?: PictureConfig;
  readonly mean?: unknown;
  readonly std?: unknown;
  readonly input_size?: readonly number[];
}

function fromConfig(json: unknown): Omit<PictureNotes, 'source'> {
  if (typeof json !== 'object' || json === null) return nothing;
  const all = json as PictureConfig;
  const config = all.pretrained_cfg ?? all;
  const [, height, width] = config.input_size ?? [];
  const timmSize = height && width ? ([height, width] as const) : null;
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
  if (typeof size === 'number') return [size, size];
  if (typeof size !== 'object' || size === null) return null;
  const { height, width, shortest_edge } = size as Readonly<Record<string, unknown>>;
  if (typeof height === 'number' && typeof width === 'number') return [height, width];
  return typeof shortest_edge === 'number' ? [shortest_edge, shortest_edge] : null;
}
