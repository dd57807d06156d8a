/** The augmentation layers, as functions with Keras's names in camelCase, and their table for Keras's class names. */
import type { Layer } from '../layer.ts';
import * as affine from './affine_layers.ts';
import * as color from './color.ts';
import { RandomErasing, type RandomErasingOptions } from './erasing.ts';
import * as crop from './flip_and_crop.ts';
import * as mixing from './mixing.ts';

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
  MixUp: { options: ['alpha'], make: mixUp },
  CutMix: { options: ['factor'], make: cutMix },
};
