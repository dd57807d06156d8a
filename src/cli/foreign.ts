/** ONNX files as backbones: what options leave open is read from the file, and the file stays with the run. */
import { existsSync } from 'node:fs';
import { basename, extname } from 'node:path';
import * as applications from '../applications/index.ts';
import { fail } from '../core/errors.ts';
import { sha256File } from '../core/files.node.ts';
import { saveAssets } from '../saving/assets.node.ts';
import type { Model } from '../training/model.ts';
import type { ModelConfig, WeightsFile } from './backbone.ts';
import type { RunFolder } from './run_folder.ts';

/** A file, absolute. */
export type OnnxPath = `${string}.onnx`;

export function isOnnx(backbone: string): backbone is OnnxPath {
  return extname(backbone).toLowerCase() === '.onnx';
}

/** An image size that nobody has said. */
export const unknownSize = 0;

const inspections = new Map<string, Promise<applications.OnnxInspection>>();

/** Each file is looked at once. */
function inspect(path: string, size: number): Promise<applications.OnnxInspection> {
  const key = `${path} ${size}`;
  const known = inspections.get(key);
  if (known !== undefined) return known;
  const inspection = applications.inspectOnnx(path, size === unknownSize ? undefined : [size, size, 3]);
  inspections.set(key, inspection);
  return inspection;
}

/** A configuration that says what was left to the file: size, cut and normalisation. */
export async function resolveModel<Config extends Omit<ModelConfig, 'weights'>>(
  config: Config,
): Promise<Config> {
  const { backbone, imageSize, backboneOutput, preprocessing } = config;
  if (!isOnnx(backbone)) return config;
  const inspection = await inspect(backbone, imageSize);
  const [height, width] = inspection.inputShape;
  if (height !== width) {
    fail(
      'unsupported',
      `${backbone} takes pictures of ${height}x${width}; the command line feeds square ones.`,
    );
  }
  inspections.set(`${backbone} ${height}`, Promise.resolve(inspection));
  const { normalization } = inspection.notes;
  return {
    ...config,
    imageSize: height,
    backboneOutput: backboneOutput ?? inspection.suggested.name,
    preprocessing: preprocessing ?? (normalization && applications.normalizationText(normalization)),
  };
}

/** The backbone of a resolved configuration, from its file or a copy of that. */
export async function buildOnnx(config: ModelConfig, path: string): Promise<Model> {
  const { imageSize, backboneOutput, preprocessing } = config;
  return applications.fromOnnx(await inspect(path, imageSize), {
    ...(backboneOutput === null ? {} : { output: backboneOutput }),
    ...(preprocessing === null ? {} : { preprocessing: applications.parseNormalization(preprocessing) }),
  });
}

/** Writes what layers need into the folder of a run, and says which file the weights of a foreign model are now. */
export async function keepAssets(folder: RunFolder, model: Model): Promise<WeightsFile | null> {
  const [name] = model.leaves().flatMap((layer) => [...layer.assets.keys()]);
  if (name === undefined) return null;
  const path = folder.file(name);
  await saveAssets(path, model);
  return { path, sha256: await sha256File(path) };
}

/**
 * The configuration of a run that is continued: an imported model comes from the run's own copy, or from where it was
 * if the run was killed before it had one.
 */
export function ownFile<Config extends ModelConfig>(
  config: Config,
  folder: RunFolder,
  weights: WeightsFile | null,
) {
  if (!isOnnx(config.backbone) || !weights) return config;
  const own = folder.file(basename(weights.path));
  return { ...config, weights: existsSync(own) ? own : weights.path };
}

/** `mobilenetv2.onnx up to features, pictures normalised as torch` */
export function describeOnnx({ backbone, backboneOutput, preprocessing }: ModelConfig): string {
  return `${basename(backbone)} up to ${backboneOutput}, pictures normalised as ${preprocessing}`;
}
