/** RandomFlip, RandomCrop and CenterCrop, as keras.layers: whole pixels move. */
import { checked, type Entries, fields, oneOf, optional, wholeNumber } from '../../core/checked.ts';
import { float32, tensor } from '../../core/tensor.ts';
import type { Node } from '../../graph/node.ts';
import * as o from '../../graph/ops.ts';
import { type LayerOptions, layerEntries } from '../layer.ts';
import { AugmentationLayer, type NoiseSource, type Transformation } from './base.ts';

const modes = ['horizontal', 'vertical', 'horizontal_and_vertical'] as const;

export interface RandomFlipOptions extends LayerOptions {
  /** `horizontal` flips left and right. Defaults to `horizontal_and_vertical`, which does both or neither. */
  readonly mode?: (typeof modes)[number];
}

const randomFlipOptions = fields({
  ...layerEntries,
  mode: optional(oneOf(...modes), 'horizontal_and_vertical'),
} satisfies Entries<RandomFlipOptions>);

/** Flips every second picture, drawn at random (keras.layers.RandomFlip). */
export class RandomFlip extends AugmentationLayer<{ readonly mode: (typeof modes)[number] }> {
  constructor(options: RandomFlipOptions = {}) {
    super('RandomFlip', checked(randomFlipOptions, options, 'layers.randomFlip'));
  }

  override transformation(_x: Node, noise: NoiseSource): Transformation {
    const { mode } = this.options;
    const stays = o.greater(noise.uniform([-1, 1, 1, 1]), 0.5);
    return (pictures) => {
      const horizontal = mode === 'vertical' ? pictures : reversed(pictures, 2);
      return o.select(stays, pictures, mode === 'horizontal' ? horizontal : reversed(horizontal, 1));
    };
  }
}

function reversed(x: Node, axis: 1 | 2): Node {
  const length = x.shape[axis]!;
  const order = Int32Array.from({ length }, (_, i) => length - 1 - i);
  return o.gather(x, o.constant(tensor('int32', [length], order)), axis);
}

export interface CropOptions extends LayerOptions {
  readonly height: number;
  readonly width: number;
}

const cropOptions = fields({
  ...layerEntries,
  height: wholeNumber(1),
  width: wholeNumber(1),
} satisfies Entries<CropOptions>);

interface Size {
  readonly height: number;
  readonly width: number;
}

/**
 * Cuts all pictures of a step at one random place (keras.layers.RandomCrop). At inference, as Keras documents it,
 * the largest window of the same proportions, around the centre, is resized.
 */
export class RandomCrop extends AugmentationLayer<Size> {
  constructor(options: CropOptions) {
    super('RandomCrop', checked(cropOptions, options, 'layers.randomCrop'));
  }

  override transformation(x: Node, noise: NoiseSource): Transformation {
    const size = this.options;
    const [, inputHeight, inputWidth] = x.shape as [number, number, number, number];
    if (inputHeight <= size.height || inputWidth <= size.width) {
      // Keras then takes this size from where the largest window begins, and resizes what there is of it.
      const { top, left } = largestWindow(x, size);
      const height = Math.min(size.height, inputHeight - top);
      const width = Math.min(size.width, inputWidth - left);
      return (pictures) => resized(pictures, { top, left, height, width }, size);
    }
    const rows = window(noise.uniform([], [0, inputHeight - size.height + 1]), size.height);
    const columns = window(noise.uniform([], [0, inputWidth - size.width + 1]), size.width);
    return (pictures) => o.gather(o.gather(pictures, rows, 1), columns, 2);
  }

  protected override atInference(x: Node): Node {
    return resized(x, largestWindow(x, this.options), this.options);
  }
}

/** The indices ⌊start⌋ … ⌊start⌋ + length − 1. */
function window(start: Node, length: number): Node {
  const offsets = float32(
    [length],
    Array.from({ length }, (_, i) => i),
  );
  return o.cast(o.add(o.cast(o.cast(start, 'int32'), 'float32'), o.constant(offsets)), 'int32');
}

/** Cuts the middle out; pictures that are too small are resized as by RandomCrop (keras.layers.CenterCrop). */
export class CenterCrop extends AugmentationLayer<Size> {
  constructor(options: CropOptions) {
    super('CenterCrop', checked(cropOptions, options, 'layers.centerCrop'));
  }

  override transformation(): Transformation {
    return (pictures) => this.atInference(pictures);
  }

  protected override atInference(x: Node): Node {
    const { height, width } = this.options;
    const [top, left] = [x.shape[1]! - height, x.shape[2]! - width].map((rest) => Math.floor(rest / 2)) as [
      number,
      number,
    ];
    const fits = top >= 0 && left >= 0;
    return resized(x, fits ? { top, left, height, width } : largestWindow(x, this.options), this.options);
  }
}

interface Box extends Size {
  readonly top: number;
  readonly left: number;
}

/** The largest window with the proportions of `size`, around the centre (keras.utils.image smart_resize). */
function largestWindow({ shape }: Node, { height, width }: Size): Box {
  const [, inputHeight, inputWidth] = shape as [number, number, number, number];
  const cropHeight = Math.max(Math.min(inputHeight, Math.floor((inputWidth * height) / width)), 1);
  const cropWidth = Math.max(Math.min(inputWidth, Math.floor((inputHeight * width) / height)), 1);
  return {
    top: Math.floor((inputHeight - cropHeight) / 2),
    left: Math.floor((inputWidth - cropWidth) / 2),
    height: cropHeight,
    width: cropWidth,
  };
}

function resized(x: Node, { top, left, height, width }: Box, size: Size): Node {
  const cut = o.slice(x, [
    { axis: 1, start: top, end: top + height },
    { axis: 2, start: left, end: left + width },
  ]);
  return o.resize(cut, [size.height, size.width], 'bilinear');
}
