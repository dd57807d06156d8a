/** Pretrained backbones with Keras's names. */
export { fromOnnx, inspectOnnx, type OnnxInspection, type OnnxOptions } from './from_onnx.node.ts';
export {
  type MeanAndStd,
  type Normalization,
  normalizationText,
  normalizationWords,
  parseNormalization,
} from './normalization.ts';
export { loadWeights, type PreprocessingMode, preprocessing } from './pretrained.node.ts';
export { type ResNet50Options, resnet50, resnet50Record } from './resnet50.ts';
export { loadTorchWeights } from './torch_weights.node.ts';
