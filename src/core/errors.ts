/**
 * The one error type that Graft throws on purpose. It owns the code and the rendered text; it does not
 * decide exit codes (the command line does).
 */

import { describeSystemError, systemReason } from './system_errors.ts';

/** What kind of thing went wrong: people script against these words, so they do not change. */
export type ErrorCode =
  | 'argument' // a caller passed a value that cannot work
  | 'shape' // tensors or layers do not fit together
  | 'data' // a data set, picture or label is unusable
  | 'file' // a file is missing, damaged or of the wrong format
  | 'checksum' // bytes differ from what was recorded
  | 'network' // a download did not succeed
  | 'weights' // weights and model do not fit together
  | 'state' // the call came at the wrong moment
  | 'device' // the chosen device is not there
  | 'unsupported'; // understood, but Graft does not have it

/** An error whose text says what came, what was expected and how to mend it. */
export class GraftError extends Error {
  /** What kind of thing went wrong. */
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'GraftError';
    this.code = code;
  }
}

/** Throws a `GraftError`: an expression, so that it fits after `??` and in ternaries. */
export function fail(code: ErrorCode, message: string, cause?: unknown): never {
  throw new GraftError(code, message, cause === undefined ? undefined : { cause });
}

/** The text of anything that was thrown. What the system refused is said in words, without the path. */
export function messageOf(thrown: unknown): string {
  return systemReason(thrown) ?? (thrown instanceof Error ? thrown.message : String(thrown));
}

/**
 * What was thrown, as an error that people can do something about: what the system refused becomes a `GraftError` with
 * code `file` that names the path and what helps. Other errors stay as they are.
 */
export function explained(thrown: unknown): unknown {
  const text = describeSystemError(thrown);
  return text === null ? thrown : new GraftError('file', text, { cause: thrown });
}
