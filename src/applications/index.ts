/** Pretrained backbones with Keras's names. */
export { loadWeights, type PreprocessingMode, preprocessing } from './pretrained.node.ts';
export { type ResNet50Options, resnet50, resnet50Record } from './resnet50.ts';
