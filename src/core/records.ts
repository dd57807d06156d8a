/** Looking into records that come from files, where anything may stand. */
import { fail } from './errors.ts';

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The entry of a table under a name from a file; never what every object inherits (`constructor`). */
export function lookUp<T>(table: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

/** What Keras writes for an object: its class and its arguments. */
export interface KerasObject {
  readonly class_name: string;
  readonly config: Readonly<Record<string, unknown>>;
}

/**
 * Reads what Keras writes for an object: a name, `{ class_name, config }`, or a function, whose name becomes the
 * class. `what` is for the message. Throws `file` for anything else.
 */
export function kerasObject(value: unknown, what: string): KerasObject {
  if (typeof value === 'string') return { class_name: value, config: {} };
  if (isRecord(value) && typeof value['class_name'] === 'string') {
    const { class_name, config } = value;
    if (class_name === 'function' && typeof config === 'string') return { class_name: config, config: {} };
    return { class_name, config: isRecord(config) ? config : {} };
  }
  return fail('file', `Expected ${what} as Keras writes it, got ${JSON.stringify(value)?.slice(0, 80)}.`);
}
