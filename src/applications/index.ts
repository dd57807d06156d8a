/** Pretrained backbones with Keras's names, and what goes with them. */
import type { Application } from './application.ts';
import { cifarResnet } from './cifar_resnet.ts';
import { convnextTiny } from './convnext.ts';
import { densenet121, densenet169, densenet201 } from './densenet.ts';
import { efficientnetB0 } from './efficientnet.ts';
import { inceptionV3 } from './inception_v3.ts';
import { mobilenetV2 } from './mobilenet_v2.ts';
import { resnet50, resnet101, resnet152 } from './resnet.ts';
import { resnet50V2 } from './resnet_v2.ts';
import { vgg16, vgg19 } from './vgg.ts';
import { xception } from './xception.ts';

export type { Application, ApplicationOptions, ApplicationRecord, TrainingSet } from './application.ts';
export { type DecodedPrediction, decodePredictions } from './decode_predictions.ts';
export { fromOnnx, inspectOnnx, type OnnxInspection, type OnnxOptions } from './from_onnx.node.ts';
export { type ImageNetClass, imagenetClasses } from './imagenet_classes.ts';
export {
  type MeanAndStd,
  type Normalization,
  normalizationLayer,
  normalizationText,
  normalizationWords,
  parseNormalization,
} from './normalization.ts';
export { grey, type PreprocessingMode, preprocessInput, preprocessing } from './preprocessing.ts';
export { fetchPublished, loadWeights } from './pretrained.node.ts';
export { loadTorchWeights } from './torch_weights.node.ts';
export {
  cifarResnet,
  convnextTiny,
  densenet121,
  densenet169,
  densenet201,
  efficientnetB0,
  inceptionV3,
  mobilenetV2,
  resnet50,
  resnet50V2,
  resnet101,
  resnet152,
  vgg16,
  vgg19,
  xception,
};

/** All of them, in the order of the table of `graft models`. */
export const all: readonly Application[] = [
  ...[vgg16, vgg19, resnet50, resnet101, resnet152, resnet50V2, inceptionV3],
  ...[
    densenet121,
    densenet169,
    densenet201,
    mobilenetV2,
    xception,
    efficientnetB0,
    convnextTiny,
    cifarResnet,
  ],
];
