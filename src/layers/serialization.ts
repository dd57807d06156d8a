/**
 * Between Graft's options (camelCase) and Keras's configs (snake_case). Only here do the two spellings meet;
 * a key that Graft does not have must hold the value that changes nothing, or the layer is refused by name.
 */
import { fail } from '../core/errors.ts';
import { isRecord, lookUp } from '../core/records.ts';

export function toSnake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

export function toCamel(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** Keras's `to_snake_case`, which makes default layer names: `Conv2D` → `conv2d`, `ReLU` → `re_lu`. */
export function classToSnake(className: string): string {
  return className
    .replace(/\W+/g, '')
    .replace(/(.)([A-Z][a-z]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase();
}

/** Policies under which Keras keeps weights in float32, as Graft does; it computes in float32 under each of them. */
const dtypes = ['float32', 'mixed_float16', 'mixed_bfloat16'];

/** Throws `unsupported` for a dtype, or policy in Keras's notation, that keeps weights as something else. */
export function checkDType(where: string, dtype: unknown): void {
  if (dtype === undefined || dtype === null) return;
  const inner = isRecord(dtype) && isRecord(dtype['config']) ? dtype['config']['name'] : dtype;
  if (typeof inner === 'string' && dtypes.includes(inner)) return;
  const came = typeof inner === 'string' ? inner : JSON.stringify(dtype);
  fail(
    'unsupported',
    `${where} has dtype ${came}; Graft reads ${dtypes.join(', ')} and computes in float32.`,
  );
}

/**
 * Keys that every Keras layer may carry and that say nothing about its mathematics, and details of `renorm`. Keras 2
 * says which of its generators draws (`rng_type`).
 */
const ignored = new Set([
  ...['name', 'trainable', 'dtype', 'batch_input_shape', 'build_input_shape', 'seed', 'rng_type'],
  ...['renorm_clipping', 'renorm_momentum'],
]);

/** Values of foreign keys that mean "as Graft does it". */
const harmless: Readonly<Record<string, readonly unknown[]>> = {
  data_format: ['channels_last', null],
  synchronized: [false],
  renorm: [false],
  sparse: [false],
  ragged: [false],
  optional: [false],
  rms_scaling: [false],
  invert: [false],
  crop_to_aspect_ratio: [false],
  pad_to_aspect_ratio: [false],
  antialias: [false],
  // Keras 2 has it of what its convolutions inherit.
  groups: [1],
  fill_mode: ['constant'],
  fill_value: [0],
  lora_rank: [null],
  lora_alpha: [null],
  quantization_config: [null],
  virtual_batch_size: [null],
  adjustment: [null],
  fused: [null, true, false],
};

/**
 * The options in a Keras config, with camelCase keys. `known` are the options of the layer; a foreign key with
 * a value that would change the result throws `unsupported`.
 */
export function optionsFromConfig(
  where: string,
  config: Readonly<Record<string, unknown>>,
  known: readonly string[],
): Record<string, unknown> {
  const options: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(config)) {
    const camel = toCamel(key);
    if (known.includes(camel)) options[camel] = value;
    else if (!ignored.has(key) && value !== null && !lookUp(harmless, key)?.includes(value)) {
      fail('unsupported', `${where}: Graft does not have ${key} = ${JSON.stringify(value)}.`);
    }
  }
  return options;
}
