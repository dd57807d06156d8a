/** Small helpers with Keras's names (keras.utils). */
export { toCategorical } from './data/index.ts';
export { clearSession } from './layers/layer.ts';
