/** `graft data --preview`: pictures beside what an augmentation makes of them in training. */
import sharp from 'sharp';
import { type Tensor, tensor } from '../core/tensor.ts';
import { type Dataset, lengthOf } from '../data/index.ts';
import { previewSteps } from '../training/preview.ts';
import { parseAugment } from './augment.ts';
import { type SheetRow, side, type Thumbnail, writeContactSheet } from './contact_sheet.ts';

/** Pictures that are shown: the first ones, in which the classes take turns. They are one batch. */
const shown = 12;
/** Steps of which the draws are shown. */
const versions = 9;

export interface SheetOptions {
  /** As `--augment` has it. */
  readonly augment: string;
  readonly seed: number;
}

/** Writes a page (`.html`) or a picture (`.png`): a row for each picture, the original first. */
export async function writeAugmentSheet(
  path: string,
  dataset: Dataset,
  { augment, seed }: SheetOptions,
): Promise<void> {
  const indices = Array.from({ length: Math.min(shown, lengthOf(dataset)) }, (_, i) => i);
  const { x, y } = await dataset.read(indices);
  const images = x as Tensor<'uint8'>;
  const { layers, description, mixes } = parseAugment(augment);
  const steps = Array.from({ length: versions }, (_, step) => step);
  const augmented = await previewSteps(layers(images.shape.slice(1)), images, { seed, steps });
  const mixing = mixes ? '; where another picture shines through, its label counts with its share' : '';
  const rows: SheetRow[] = [{ title: `${description}, seed ${seed}${mixing}`, pictures: [] }];
  for (const index of indices) {
    const name = dataset.classNames?.[y.data[index]!] ?? `class ${y.data[index]}`;
    const all = [images, ...augmented].map((batch) => imageAt(batch, index));
    rows.push({
      title: name,
      pictures: await Promise.all(all.map((image, i) => draw(image, titleOf(name, i)))),
    });
  }
  const title = `${dataset.name}: each picture as it is, and in ${versions} steps of a training`;
  await writeContactSheet(path, title, rows);
}

function titleOf(name: string, position: number): string {
  return position === 0 ? `${name}, as it is` : `${name}, step ${position}`;
}

function imageAt({ shape, data }: Tensor<'uint8'>, index: number): Tensor<'uint8'> {
  const size = data.length / shape[0]!;
  return tensor('uint8', shape.slice(1), data.subarray(index * size, (index + 1) * size));
}

/** Small pictures are enlarged pixel by pixel, so that nothing is smoothed over. */
async function draw({ shape, data }: Tensor<'uint8'>, name: string): Promise<Thumbnail> {
  const [height, width] = shape as [number, number, number];
  const kernel = Math.max(height, width) < side ? 'nearest' : 'lanczos3';
  const picture = sharp(data, { raw: { height, width, channels: 3 } });
  const background = '#f2f2f2';
  return {
    name,
    image: await picture.resize(side, side, { fit: 'contain', background, kernel }).png().toBuffer(),
  };
}
