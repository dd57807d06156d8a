/** The augmentation layers, as functions with Keras's names in camelCase, and their table for Keras's class names. */
import type { Layer } from '../layer.ts';
import * as affine from './affine_layers.ts';
import * as color from './color.ts';
import { RandomErasing, type RandomErasingOptions } from './erasing.ts';
import * as crop from './flip_and_crop.ts';
import * as mixing from './mixing.ts';
import { RandAugment, type RandAugmentOptions } from './rand_augment.ts';
import * as tone from './tone.ts';

/** Flips every second picture, drawn at random (keras.layers.RandomFlip). */
export const randomFlip = (options: crop.RandomFlipOptions = {}): Layer => new crop.RandomFlip(options);
/**
 * A window of each step’s pictures, at a random place; at inference the largest window of its proportions, resized
 * (keras.layers.RandomCrop).
 */
export const randomCrop = (options: crop.CropOptions): Layer => new crop.RandomCrop(options);
/** The window in the middle of pictures (keras.layers.CenterCrop). */
export const centerCrop = (options: crop.CropOptions): Layer => new crop.CenterCrop(options);
/** Shifts each picture by a random share of its size (keras.layers.RandomTranslation). */
export const randomTranslation = (options: affine.RandomTranslationOptions): Layer =>
  new affine.RandomTranslation(options);
/** Turns each picture by a random share of a full turn (keras.layers.RandomRotation). */
export const randomRotation = (options: affine.RandomRotationOptions): Layer =>
  new affine.RandomRotation(options);
/** Magnifies or shrinks each picture at random (keras.layers.RandomZoom). */
export const randomZoom = (options: affine.RandomZoomOptions): Layer => new affine.RandomZoom(options);
/** Moves the values of each picture away from their mean or towards it (keras.layers.RandomContrast). */
export const randomContrast = (options: color.ColorOptions): Layer => new color.RandomContrast(options);
/** Makes each picture brighter or darker (keras.layers.RandomBrightness). */
export const randomBrightness = (options: color.ColorOptions): Layer => new color.RandomBrightness(options);
/** Covers a random rectangle (keras.layers.RandomErasing, Zhong et al. 2017). */
export const randomErasing = (options: RandomErasingOptions = {}): Layer => new RandomErasing(options);
/** Takes some of the colour out of each picture (keras.layers.RandomColorDegeneration). */
export const randomColorDegeneration = (options: color.ColorOptions): Layer =>
  new color.RandomColorDegeneration(options);
/** Takes all colour out of some pictures (keras.layers.RandomGrayscale). */
export const randomGrayscale = (options: color.RandomGrayscaleOptions = {}): Layer =>
  new color.RandomGrayscale(options);
/** Slants each picture along its axes (keras.layers.RandomShear). */
export const randomShear = (options: affine.RandomShearOptions = {}): Layer =>
  new affine.RandomShear(options);
/** Sharpens or blurs each picture (keras.layers.RandomSharpness). */
export const randomSharpness = (options: color.ColorOptions): Layer => new tone.RandomSharpness(options);
/** Leaves each value only its upper bits (keras.layers.RandomPosterization). */
export const randomPosterization = (options: tone.RandomPosterizationOptions): Layer =>
  new tone.RandomPosterization(options);
/** Inverts values above a threshold (keras.layers.Solarization). */
export const solarization = (options: tone.SolarizationOptions = {}): Layer => new tone.Solarization(options);
/** Stretches each channel to the whole value range (keras.layers.AutoContrast). */
export const autoContrast = (options: tone.ValueRangeOption = {}): Layer => new tone.AutoContrast(options);
/** Spreads the histogram of each channel evenly (keras.layers.Equalization). */
export const equalization = (options: tone.EqualizationOptions = {}): Layer => new tone.Equalization(options);
/** Some operations of place and shade, drawn for each picture (keras.layers.RandAugment, Cubuk et al. 2019). */
export const randAugment = (options: RandAugmentOptions = {}): Layer => new RandAugment(options);
/** Blends each picture with another of its batch, and their labels (keras.layers.MixUp, Zhang et al. 2017). */
export const mixUp = (options: mixing.MixUpOptions = {}): Layer => new mixing.MixUp(options);
/** Puts a rectangle of another picture into each, labels by area (keras.layers.CutMix, Yun et al. 2019). */
export const cutMix = (options: mixing.CutMixOptions = {}): Layer => new mixing.CutMix(options);

const resampling = ['fillMode', 'interpolation', 'fillValue'];
/** Some versions of Keras 3 (3.3 to 3.5) write it of layers that only move values. */
const unused = ['value_range'];

/**
 * How these layers are read from Keras's configs.
 *
 * @internal
 */
export const augmentationTypes = {
  RandomFlip: { options: ['mode'], make: randomFlip },
  RandomCrop: { options: ['height', 'width'], make: randomCrop },
  CenterCrop: { options: ['height', 'width'], make: centerCrop },
  RandomTranslation: {
    options: ['heightFactor', 'widthFactor', ...resampling],
    unused,
    make: randomTranslation,
  },
  RandomRotation: { options: ['factor', ...resampling], unused, make: randomRotation },
  RandomZoom: { options: ['heightFactor', 'widthFactor', ...resampling], unused, make: randomZoom },
  RandomContrast: { options: ['factor', 'valueRange'], make: randomContrast },
  RandomBrightness: { options: ['factor', 'valueRange'], make: randomBrightness },
  RandomErasing: { options: ['factor', 'scale', 'fillValue', 'valueRange'], make: randomErasing },
  RandomShear: { options: ['xFactor', 'yFactor', ...resampling], unused, make: randomShear },
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
