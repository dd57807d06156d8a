/** The augmentation layers, as functions with Keras's names in camelCase, and their table for Keras's class names. */
import type { Layer } from '../layer.ts';
import * as affine from './affine_layers.ts';
import * as color from './color.ts';
import { RandomErasing, type RandomErasingOptions } from './erasing.ts';
import * as crop from './flip_and_crop.ts';
import * as mixing from './mixing.ts';
import { RandAugment, type RandAugmentOptions } from './rand_augment.ts';
import * as tone from './tone.ts';

export const randomFlip = (options: crop.RandomFlipOptions = {}): Layer => new crop.RandomFlip(options);
export const randomCrop = (options: crop.CropOptions): Layer => new crop.RandomCrop(options);
export const centerCrop = (options: crop.CropOptions): Layer => new crop.CenterCrop(options);
export const randomTranslation = (options: affine.RandomTranslationOptions): Layer =>
  new affine.RandomTranslation(options);
export const randomRotation = (options: affine.RandomRotationOptions): Layer =>
  new affine.RandomRotation(options);
export const randomZoom = (options: affine.RandomZoomOptions): Layer => new affine.RandomZoom(options);
export const randomContrast = (options: color.ColorOptions): Layer => new color.RandomContrast(options);
export const randomBrightness = (options: color.ColorOptions): Layer => new color.RandomBrightness(options);
export const randomErasing = (options: RandomErasingOptions = {}): Layer => new RandomErasing(options);
export const randomColorDegeneration = (options: color.ColorOptions): Layer =>
  new color.RandomColorDegeneration(options);
export const randomGrayscale = (options: color.RandomGrayscaleOptions = {}): Layer =>
  new color.RandomGrayscale(options);
export const randomShear = (options: affine.RandomShearOptions = {}): Layer =>
  new affine.RandomShear(options);
export const randomSharpness = (options: color.ColorOptions): Layer => new tone.RandomSharpness(options);
export const randomPosterization = (options: tone.RandomPosterizationOptions): Layer =>
  new tone.RandomPosterization(options);
export const solarization = (options: tone.SolarizationOptions = {}): Layer => new tone.Solarization(options);
export const autoContrast = (options: tone.ValueRangeOption = {}): Layer => new tone.AutoContrast(options);
export const equalization = (options: tone.EqualizationOptions = {}): Layer => new tone.Equalization(options);
export const randAugment = (options: RandAugmentOptions = {}): Layer => new RandAugment(options);
export const mixUp = (options: mixing.MixUpOptions = {}): Layer => new mixing.MixUp(options);
export const cutMix = (options: mixing.CutMixOptions = {}): Layer => new mixing.CutMix(options);

const resampling = ['fillMode', 'interpolation', 'fillValue'];

/** How these layers are read from Keras's configs. */
export const augmentationTypes = {
  RandomFlip: { options: ['mode'], make: randomFlip },
  RandomCrop: { options: ['height', 'width'], make: randomCrop },
  CenterCrop: { options: ['height', 'width'], make: centerCrop },
  RandomTranslation: { options: ['heightFactor', 'widthFactor', ...resampling], make: randomTranslation },
  RandomRotation: { options: ['factor', ...resampling], make: randomRotation },
  RandomZoom: { options: ['heightFactor', 'widthFactor', ...resampling], make: randomZoom },
  RandomContrast: { options: ['factor', 'valueRange'], make: randomContrast },
  RandomBrightness: { options: ['factor', 'valueRange'], make: randomBrightness },
  RandomErasing: { options: ['factor', 'scale', 'fillValue', 'valueRange'], make: randomErasing },
  RandomShear: { options: ['xFactor', 'yFactor', ...resampling], make: randomShear },
  RandomColorDegeneration: { options: ['factor', 'valueRange'], make: randomColorDegeneration },
  RandomGrayscale: { options: ['factor'], make: randomGrayscale },
  RandomSharpness: { options: ['factor', 'valueRange'], make: randomSharpness },
  RandomPosterization: { options: ['factor', 'valueRange'], make: randomPosterization },
  Solarization: { options: ['additionFactor', 'thresholdFactor', 'valueRange'], make: solarization },
  AutoContrast: { options: ['valueRange'], make: autoContrast },
  Equalization: { options: ['bins', 'valueRange'], make: equalization },
  RandAugment: { options: ['valueRange', 'numOps', 'factor', 'interpolation'], make: randAugment },
  MixUp: { options: ['alpha'], make: mixUp },
  CutMix: { options: ['factor'], make: cutMix },
};
